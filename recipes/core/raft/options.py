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
    """

    pre_vote: bool = True
    check_quorum: bool = True
    back_off_by_term: bool = True


SERVED = RaftOptions()
TEXTBOOK = RaftOptions(pre_vote=False, check_quorum=False, back_off_by_term=False)
