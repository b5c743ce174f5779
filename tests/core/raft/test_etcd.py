"""etcd/raft as a judge: its published transcripts say which votes are given and what becomes of logs; ours does so too.

Its indexes go on from term to term, our counters begin anew: so an index is counted from the first one of its term.
"""

import pytest

from recipes.core.history import History
from recipes.core.raft.options import RaftOptions
from recipes.core.replicas import matching
from recipes.core.replicas.ballots import Kind
from recipes.core.replication import Entry
from tests.core.raft.etcd_transcript import Answer, Log, names, steps, votes
from tests.core.raft.rig import Alone

LOGS = ("probe_and_replicate", "prevote", "prevote_checkquorum", "checkquorum", "campaign", "lagging_commit")


def log_of(term, index):
    return tuple(term << 32 | counter for counter in range(1, index + 1))


@pytest.mark.parametrize("name", [name for name in names() if votes(name)])
def test_votes_are_given_as_there(name):
    for each in votes(name):
        term, index = each.log
        it = Alone(
            size=7, log=log_of(term, index), term=each.term, vote=b"%d %d" % (each.term, each.vote or -1),
            options=RaftOptions(each.early, each.said == "ignored", True), sid=each.voter,
        )  # fmt: skip
        if each.said == "ignored":  # since its leader lives
            leader = next(sid for sid in range(1, 8) if sid not in (each.voter, each.candidate))
            it.follow(leader, each.term)
        zxid = log_of(*each.candidate_log)[-1]
        asked = Kind.ASK_EARLY if each.early else Kind.ASK
        said = [ballot.kind for _, ballot in it.hears(each.candidate, asked, each.term, zxid)]
        granted = (Kind.GRANT_EARLY if each.early else Kind.GRANT) in said
        assert granted == (each.said == "cast"), each


class Replay:
    """Our logs, to which happens what a transcript says."""

    def __init__(self, name):
        self.steps = list(steps(name))
        self.first = {}
        for step in self.steps:
            for term, index in [] if isinstance(step, Answer) else step.entries:
                self.first[term] = min(index, self.first.get(term, index))
        self.ours, self.theirs = {}, {}  # node -> zxids
        self.answers, self.probes = {}, {}
        self.appended = set()  # followers that have appended what their next log must have
        self.judged = {"taken": 0, "refused": 0, "probe": 0}

    def zxid(self, place):
        term, index = place
        first = self.first.get(term)
        return term << 32 | index - first + 1 if first is not None and index >= first else 0

    def index(self, zxid):
        return self.first[zxid >> 32] + (zxid & 0xFFFFFFFF) - 1 if zxid else min(self.first.values()) - 1

    def before(self, place):
        """A log of one term that ends there."""
        zxid = self.zxid(place)
        return range((zxid >> 32 << 32) + 1, zxid + 1)

    def history(self, node):
        return History(0, [Entry(zxid, b"") for zxid in self.ours.get(node, [])])

    def run(self):
        for step in self.steps:
            if isinstance(step, Log):
                self.log(step)
            elif isinstance(step, Answer):
                self.answer(step)
            elif step.arrives:
                self.arrives(step)
            else:
                self.sent(step)

    def log(self, step):
        zxids = [self.zxid(place) for place in step.entries]
        if step.whole:
            self.theirs[step.node] = zxids
            assert self.ours.setdefault(step.node, zxids) == zxids, step
            return
        term, index = step.entries[0]
        known = self.theirs.get(step.node, self.before((term, index - 1)))
        kept = [zxid for zxid in known if self.index(zxid) < index]
        self.theirs[step.node] = kept + zxids
        if step.node not in self.appended:  # a leader's own
            self.ours[step.node] = self.theirs[step.node]
        self.appended.discard(step.node)
        assert self.ours[step.node] == self.theirs[step.node], step

    def arrives(self, step):
        if step.follower not in self.ours:  # what it has from the part that is not printed
            self.ours[step.follower] = self.theirs[step.follower] = [*self.before(step.behind)]
        history = self.history(step.follower)
        prev_zxid = self.zxid(step.behind)
        found = matching.matched(history, 0, prev_zxid)
        if found is None:
            # Ours may name an entry of an earlier term that stands further on: theirs is bounded by the index, too.
            hint = self.index(matching.hint(history, prev_zxid))
            self.answers.setdefault(step.follower, []).append((step.behind[1], min(hint, step.behind[1])))
            return
        cut_zxid, entries = matching.change(history, found, [Entry(self.zxid(place), b"") for place in step.entries])
        kept = [zxid for zxid in self.ours.get(step.follower, []) if cut_zxid is None or zxid <= cut_zxid]
        self.ours[step.follower] = kept + [entry.zxid for entry in entries]
        if entries:
            self.appended.add(step.follower)
        last = step.entries[-1] if step.entries else step.behind
        self.answers.setdefault(step.follower, []).append((last[1], None))

    def answer(self, step):
        if step.index == 0:  # it tells its term
            return
        assert (step.index, step.hint) == self.answers[step.follower].pop(0), step
        self.judged["taken" if step.hint is None else "refused"] += 1
        if step.hint is not None:
            history = self.history(step.leader)
            hint_zxid = next((zxid for zxid in reversed(self.ours[step.follower]) if self.index(zxid) <= step.hint), 0)
            prev_zxid = next(zxid for zxid in self.ours[step.leader] if self.index(zxid) == step.index)
            probe = matching.next_probe(history, prev_zxid, hint_zxid, by_term=True)
            assert probe is not None
            self.probes[step.leader, step.follower] = self.index(probe)

    def sent(self, step):
        expected = self.probes.pop((step.leader, step.follower), None)
        if expected is not None:
            assert step.behind[1] == expected, step
            self.judged["probe"] += 1


@pytest.mark.parametrize("name", LOGS)
def test_logs_are_matched_as_there(name):
    replay = Replay(name)
    replay.run()
    assert replay.judged["taken"] > 1
    assert replay.ours == replay.theirs


def test_figure_7_ends_as_there_with_all_logs_equal():
    replay = Replay("probe_and_replicate")
    replay.run()
    assert len(replay.ours) == 7
    assert len({tuple(log) for log in replay.ours.values()}) == 1
    assert replay.judged["refused"] == replay.judged["probe"] >= 5
