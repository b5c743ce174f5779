"""The rules of a round: by example, and over random schedules of parties that act on what they read some time ago."""

from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.barrier import rounds
from recipes.barrier.rounds import Decide, Forget, Full, NextRound, Notice, Outcome, TakePlace, Wait

A, B, C = (f"_r_{index:016x}@{name}-party-{index:010d}" for index, name in enumerate("abc", 1))


def test_the_party_that_completes_a_round_opens_its_gate():
    assert rounds.entering([A, B], B, [], 3, "break") == Wait()
    assert rounds.entering([C, A, B], C, [], 3, "break") == Decide(Outcome((A, B, C)))
    assert rounds.entering([C, A, B], A, [], 3, "break") == rounds.entering([C, A, B], B, [], 3, "break") == Wait()
    assert rounds.entering([A, B, C], C, [], 2, "break") == Decide(Outcome((A, B)))  # one too many, that sees it first


def test_a_party_that_was_seen_and_is_gone_has_died():
    died = Outcome(who="b", why="it died before all were in")
    assert rounds.entering([A], A, [A, B], 3, "break") == Decide(died)
    assert rounds.entering([A], A, [A, B], 3, "shrink") == Forget((B,))
    assert rounds.entering([A, B + ".died"], A, [A, B], 3, "shrink") == Wait()
    for me in (A, C):  # the first one, too: the one that completed the round need not know that it did
        assert rounds.entering([A, C, B + ".died"], me, [A, B], 3, "shrink") == Decide(Outcome((A, C)))
    assert rounds.entering([A], A, [A, B], 3, "wait") == Wait()


def test_a_round_of_which_all_died_has_no_members_and_begins_for_nobody():
    assert rounds.entering([A, B + ".died"], A, [], 1, "shrink") == Decide(Outcome(()))
    assert rounds.admitted([A, B + ".died"], Outcome(()), "shrink") == NextRound()


def test_one_that_dies_inside_breaks_the_leaving_or_does_not_count_any_more():
    members = (A, B, C)
    assert rounds.leaving([B, C, A, A + ".left"], members, "break") == Wait()
    assert rounds.leaving([C, A, A + ".left"], members, "break") == Decide(Outcome(who="b", why="it died inside"))
    assert rounds.leaving([C, A + ".left"], members, "shrink") == Forget((B,))
    assert rounds.leaving([C, A + ".left"], members, "wait") == Wait()
    assert rounds.leaving([A + ".left", B + ".left", C + ".left"], members, "break") == Wait()  # they have left


def test_the_last_one_out_ends_the_round():
    assert rounds.last_out(3) == "out/n0000000002"
    assert rounds.decode_end(b"") == Outcome()
    assert rounds.decode_end(rounds.encode(Outcome(who="b", why="it died inside"))).broken


def test_one_too_many_goes_where_there_is_room():
    gate = Outcome((A, B))
    assert rounds.admitted([A, B, C], gate, "break") == Full()
    assert rounds.admitted([A, C, B, B + ".left"], gate, "break") == NextRound()
    assert rounds.admitted([C], Outcome(who="b", why="it died"), "break") == NextRound()
    assert rounds.admitted([A, C], gate, "wait") == TakePlace(B)
    assert rounds.admitted([A, C, B + ".place"], gate, "wait") == Full()


def test_a_round_in_which_parties_died_keeps_nobody_out():
    for on_death in ("break", "shrink"):  # nobody may be left who would say that it is over
        assert rounds.admitted(["out"], Outcome((A, B)), on_death) == NextRound()


def test_members_look_after_one_another_in_a_ring():
    members = (A, B, C)
    assert rounds.neighbour(members, B, members) == A
    assert rounds.neighbour(members, A, members) == C
    assert rounds.neighbour([A, B], A, members) == B
    assert rounds.neighbour([A], A, members) is None


def test_what_a_round_leaves_behind_may_go_when_nobody_is_in_it():
    assert rounds.is_empty(["out", A + ".left", B + ".died"])
    assert not rounds.is_empty(["out", A, A + ".left"])
    assert not rounds.is_empty(["out", A + ".place"])


def test_notices_are_read_as_they_were_written():
    for notice in (Notice(3), Notice(3, 2, Outcome((A, B))), Notice(3, 2, Outcome(who="b", why="it died"))):
        assert rounds.decode_notice(rounds.encode_notice({"parties": 2, "on_death": "break"}, notice)) == notice
    for data in (b"", b"{", b"7", b"[]", b'{"round": "x"}', b'{"round": 2, "gate": 1, "members": 5}'):
        assert rounds.decode_notice(data) == Notice()


def test_a_gate_that_is_too_large_for_all_to_read_is_not_shown():
    crowd = tuple(f"_r_{index:016x}@p-party-{index:010d}" for index in range(1000))
    assert rounds.decode_notice(rounds.encode_notice({"parties": 1000}, Notice(3, 2, Outcome(crowd)))) == Notice(3)


def test_outcomes_are_read_as_they_were_written():
    for outcome in (Outcome((A, B)), Outcome(who="b", why="it died")):
        assert rounds.decode(rounds.encode(outcome)) == outcome
    assert rounds.decode(b"") is None
    for nonsense in (b"[]", b"{", b'{"members": 3}'):
        assert rounds.decode(nonsense).broken


class Model:
    """One round at the store, and parties that act on what they last read."""

    def __init__(self, parties, on_death):
        self.parties, self.on_death = parties, on_death
        self.names, self.arrivals = set(), []
        self.gate = self.end = None
        self.out = 0  # how many have left
        self.state = {}  # party -> "waiting" | "inside" | "leaving" | "done" | "dead"
        self.read, self.seen, self.told = {}, {}, {}

    def arrive(self):
        index = len(self.arrivals) + 1
        me = f"_r_{index:016x}@p{index}-party-{index:010d}"
        if self.gate is not None:
            return
        self.arrivals.append(me)
        self.names.add(me)
        self.state[me], self.seen[me] = "waiting", set()
        self.look(me)

    def look(self, me):
        self.read[me] = sorted(self.names), self.gate, self.end

    def die(self, me):
        if self.state[me] in ("waiting", "inside", "leaving"):
            self.state[me] = "dead"
            self.names.discard(me)

    def open(self, outcome):
        if self.gate is None:
            self.gate = outcome
            if not outcome.broken:
                gone = sum(each.endswith(rounds.DIED) for each in self.names)
                assert len(outcome.members) == max(0, self.parties - gone)
                assert set(outcome.members) <= set(self.arrivals)

    def mark_left(self, member):
        """Once for each; the last one ends the round, unless somebody has that name already."""
        if member + rounds.LEFT in self.names or self.end is not None:
            return
        self.names.add(member + rounds.LEFT)
        self.out += 1
        if self.out == len(self.gate.members):
            self.end = rounds.decode_end(b"")

    def act(self, me):
        """One step on what was read before, which may be old by now."""
        names, gate, end = self.read[me]
        if self.state[me] == "waiting":
            if gate is not None:
                self.told[me] = gate
                self.state[me] = "inside" if me in gate.members else "done"
                if self.state[me] == "done":
                    self.names.discard(me)
                return
            step = rounds.entering(names, me, self.seen[me], self.parties, self.on_death)
            self.seen[me] |= {name for name in names if name[-1].isdigit()}
            if isinstance(step, Decide):
                self.open(step.outcome)
            elif isinstance(step, Forget) and self.gate is None:
                self.names |= {name + rounds.DIED for name in step.gone}
        elif self.state[me] in ("inside", "leaving"):
            if end is not None:
                if self.state[me] == "leaving":
                    self.state[me] = "done"
                    self.names.discard(me)
                return
            step = rounds.leaving(names, self.gate.members, self.on_death)
            if isinstance(step, Decide):
                self.end = self.end or step.outcome
            elif isinstance(step, Forget):
                for member in step.gone:
                    self.mark_left(member)

    def leave(self, me):
        if self.state[me] == "inside":
            self.state[me] = "leaving"
            self.mark_left(me)

    def settle(self):
        """Everybody reads and acts until nothing changes."""
        before = None
        while before != (before := (sorted(self.names), sorted(self.state.items()), self.gate, self.end)):
            for me in self.arrivals:
                self.look(me)
                self.act(me)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from(["break", "shrink"]),
    st.lists(
        st.tuples(st.sampled_from(["arrive", "look", "act", "act", "die", "leave"]), st.integers(0, 5)), max_size=60
    ),
)
def test_s11_all_parties_of_a_round_agree_and_none_waits_for_ever(parties, on_death, schedule):
    model = Model(parties, on_death)
    for what, index in schedule:
        if what == "arrive":
            if len(model.arrivals) < 6:
                model.arrive()
        elif index < len(model.arrivals):
            getattr(model, what)(model.arrivals[index])
    model.settle()
    gate = model.gate
    assert all(told == gate for told in model.told.values())
    waiting = [me for me in model.arrivals if model.state[me] == "waiting"]
    if waiting:  # then there was no reason to go on
        gone = sum(name.endswith(rounds.DIED) for name in model.names)
        assert gate is None and len(waiting) + gone < parties
    if gate is not None and not gate.broken:
        for me in list(model.arrivals):
            model.leave(me)
        model.settle()
        assert "leaving" not in model.state.values()
        dead = [me for me in gate.members if model.state[me] == "dead" and me + rounds.LEFT not in model.names]
        if any(model.state[me] == "done" for me in gate.members):
            assert model.end is not None
            assert on_death == "shrink" or model.end.broken == bool(dead)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.data())
def test_every_member_inside_is_looked_after_by_one_that_lives(count, data):
    members = tuple(f"_r_{index:016x}@p-party-{index:010d}" for index in range(count))
    living = data.draw(st.sets(st.sampled_from(members), min_size=1))
    names = sorted(living)  # also of those that have left: their znodes stay until all have
    watched = {rounds.neighbour(names, me, members) for me in living}
    assert len(living) == 1 or living <= watched
