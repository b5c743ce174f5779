"""How raft runs: as it is served, or as the paper first describes it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RaftOptions:
    """The ways in which implementations of raft differ.

    pre_vote: a server asks whether it would be elected before it begins a term, so that one that was cut off does not
        depose a working leader when it comes back.
    check_quorum: a leader that hears from no quorum steps down, and a server that hears from a leader votes for nobody.
    back_off_by_term: a leader skips a whole term per answer when it looks for where a follower's log agrees with its
        own; if not, one entry.
    guards_terms: a term that another server says it is in is stored only once a quorum would elect this server in a
        later one, or its leader was reached; a leader gives way for it once in a while; a server that answers is not
        displaced by another connection in its name. Needs the first two. No paper has this.
    """

    pre_vote: bool = True
    check_quorum: bool = True
    back_off_by_term: bool = True
    guards_terms: bool = True


SERVED = RaftOptions()
TEXTBOOK = RaftOptions(pre_vote=False, check_quorum=False, back_off_by_term=False, guards_terms=False)
