"""The rules of a round: by example, and over random schedules of parties that act on what they read some time ago."""

from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.barrier import rounds
from recipes.barrier.rounds import Decide, Forget, Full, NextRound, Outcome, Read, TakePlace, Wait

A, B, C = (f"_r_{index:016x}@{name}-party-{index:010d}" for index, name in enumerate("abc", 1))


def test_a_party_waits_until_all_are_in():
    assert rounds.entering([A, B], [], 3, "break") == Wait()
    assert rounds.entering([C, A, B], [], 3, "break") == Decide(Outcome((A, B, C)))
    assert rounds.entering([A, B, C], [], 2, "break") == Decide(Outcome((A, B)))
    assert rounds.entering([A, B, C, "gate"], [], 3, "break") == Read()


def test_a_party_that_was_seen_and_is_gone_has_died():
    assert rounds.entering([A], [A, B], 3, "break") == Decide(Outcome((), "b", "it died before all were in"))
    assert rounds.entering([A], [A, B], 3, "shrink") == Forget((B,))
    assert rounds.entering([A, "gone-" + B], [A, B], 3, "shrink") == Wait()
    assert rounds.entering([A, C, "gone-" + B], [A, B], 3, "shrink") == Decide(Outcome((A, C)))
    assert rounds.entering([A], [A, B], 3, "wait") == Wait()


def test_the_leaving_ends_when_all_have_left_or_one_died():
    members = (A, B, C)
    assert rounds.leaving([B, C, "left-" + A], members, "break") == Wait()
    assert rounds.leaving([C, "left-" + A], members, "break") == Decide(Outcome((), "b", "it died inside"))
    assert rounds.leaving([C, "left-" + A], members, "shrink") == Forget((B,))
    assert rounds.leaving([C, "left-" + A], members, "wait") == Wait()
    assert rounds.leaving([C, "left-" + A, "place-" + B], members, "wait") == Wait()
    assert rounds.leaving(["left-" + A, "gone-" + B, "left-" + C], members, "shrink") == Decide(Outcome())
    assert rounds.leaving(["end"], members, "break") == Read()


def test_one_too_many_goes_where_there_is_room():
    gate = Outcome((A, B))
    assert rounds.admitted([A, B, C, "gate"], gate, "break") == Full()
    assert rounds.admitted([A, C, "gate", "left-" + B], gate, "break") == NextRound()
    assert rounds.admitted([C, "gate", "end"], gate, "break") == NextRound()
    assert rounds.admitted([C, "gate"], Outcome((), "b", "it died"), "break") == NextRound()
    assert rounds.admitted([A, C, "gate"], gate, "wait") == TakePlace(B)
    assert rounds.admitted([A, C, "gate", "place-" + B], gate, "wait") == Full()


def test_members_look_after_one_another_in_a_ring():
    members = (A, B, C)
    assert rounds.neighbour(members, B, members) == A
    assert rounds.neighbour(members, A, members) == C
    assert rounds.neighbour([A, B], A, members) == B
    assert rounds.neighbour(["place-" + C], A, members) == "place-" + C
    assert rounds.neighbour([A], A, members) is None


def test_outcomes_are_read_as_they_were_written():
    for outcome in (Outcome(), Outcome((A, B)), Outcome((), "b", "it died")):
        assert rounds.decode(rounds.encode(outcome)) == outcome
    for nonsense in (b"", b"[]", b"{", b'{"members": 3}'):
        assert rounds.decode(nonsense).broken


class Model:
    """One round at the store, and parties that act on what they last read."""

    def __init__(self, parties, on_death):
        self.parties, self.on_death = parties, on_death
        self.names, self.data, self.arrivals = set(), {}, []
        self.state = {}  # party -> "waiting" | "inside" | "leaving" | "done" | "dead"
        self.read, self.seen, self.told = {}, {}, {}

    def arrive(self):
        index = len(self.arrivals) + 1
        me = f"_r_{index:016x}@p{index}-party-{index:010d}"
        if rounds.GATE in self.names:
            return
        self.arrivals.append(me)
        self.names.add(me)
        self.state[me], self.seen[me] = "waiting", set()
        self.look(me)

    def look(self, me):
        self.read[me] = sorted(self.names)

    def die(self, me):
        if self.state[me] in ("waiting", "inside", "leaving"):
            self.state[me] = "dead"
            self.names.discard(me)

    def write(self, name, outcome):
        if name in self.names:
            return
        self.names.add(name)
        self.data[name] = outcome
        if name == rounds.GATE and not outcome.broken:
            gone = sum(each.startswith(rounds.GONE) for each in self.names)
            assert len(outcome.members) == self.parties - gone
            assert set(outcome.members) <= set(self.arrivals)
        if name == rounds.END and not outcome.broken:
            for member in self.data[rounds.GATE].members:
                assert rounds.LEFT + member in self.names or rounds.GONE + member in self.names

    def act(self, me):
        """One step on what was read before, which may be old by now."""
        names = self.read[me]
        if self.state[me] == "waiting":
            step = rounds.entering(names, self.seen[me], self.parties, self.on_death)
            self.seen[me] |= {name for name in names if name.startswith("_r_")}
            if isinstance(step, Read):
                gate = self.data[rounds.GATE]
                self.told[me] = gate
                self.state[me] = "inside" if me in gate.members else "done"
                if self.state[me] == "done":
                    self.names.discard(me)
            elif isinstance(step, Decide):
                self.write(rounds.GATE, step.outcome)
        elif self.state[me] in ("inside", "leaving"):
            members = self.data[rounds.GATE].members
            step = rounds.leaving(names, members, self.on_death)
            if isinstance(step, Read) and self.state[me] == "leaving":
                self.state[me] = "done"
            elif isinstance(step, Decide):
                self.write(rounds.END, step.outcome)
        else:
            return
        if isinstance(step, Forget):
            self.names |= {rounds.GONE + name for name in step.gone}

    def leave(self, me):
        if self.state[me] == "inside":
            self.state[me] = "leaving"
            self.names.discard(me)
            self.names.add(rounds.LEFT + me)

    def settle(self):
        """Everybody reads and acts until nothing changes."""
        before = None
        while before != (before := (sorted(self.names), sorted(self.state.items()))):
            for me in self.arrivals:
                self.look(me)
                self.act(me)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from(["break", "shrink"]),
    st.lists(st.tuples(st.sampled_from(["arrive", "look", "act", "act", "die", "leave"]), st.integers(0, 5)), max_size=60),
)
def test_all_parties_of_a_round_agree_and_none_waits_for_ever(parties, on_death, schedule):
    model = Model(parties, on_death)
    for what, index in schedule:
        if what == "arrive":
            if len(model.arrivals) < 6:
                model.arrive()
        elif index < len(model.arrivals):
            getattr(model, what)(model.arrivals[index])
    model.settle()
    gate = model.data.get(rounds.GATE)
    for outcome in model.told.values():
        assert outcome == gate
    waiting = [me for me in model.arrivals if model.state[me] == "waiting"]
    if waiting:  # then there was no reason to go on
        gone = sum(name.startswith(rounds.GONE) for name in model.names)
        assert gate is None and len(waiting) + gone < parties
    if gate is not None and not gate.broken:
        for me in list(model.arrivals):
            model.leave(me)
        model.settle()
        assert "leaving" not in model.state.values()
        dead = [me for me in gate.members if model.state[me] == "dead" and rounds.LEFT + me not in model.names]
        ended = model.data.get(rounds.END)
        if any(model.state[me] == "done" for me in gate.members):
            assert ended is not None and ended.broken == (bool(dead) and on_death == "break")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.data())
def test_every_member_inside_is_looked_after_by_one_that_lives(count, data):
    members = tuple(f"_r_{index:016x}@p-party-{index:010d}" for index in range(count))
    inside = data.draw(st.sets(st.sampled_from(members), min_size=1))
    left = [rounds.LEFT + member for member in members if member not in inside]
    names = [*inside, *left]
    watched = {rounds.neighbour(names, me, members) for me in members}  # those that left wait, and look after others too
    if len(members) > 1:
        assert inside <= watched
