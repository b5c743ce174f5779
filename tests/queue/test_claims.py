"""The decision what may be claimed, and the steps of an item, against a model; and the table of docs/queue.md."""

import re
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recipes.queue import claims
from recipes.queue.claims import ListedItem, choose

PAGE = Path(__file__).parent.parent.parent / "docs" / "queue.md"


class Refused(Exception):
    pass


class Bucket:
    """A znode's children: changes are made together or not at all."""

    def __init__(self):
        self.names = set()
        self.outdated = set()
        self.owners = {}  # of claims
        self.creates = 0

    def put(self, due_ms=0):
        name = f"{claims.item_name(due_ms)}{self.creates:010d}"
        self.creates += 1
        self.names.add(name)
        return name

    def apply(self, changes, owner=None):
        names, outdated, owners = set(self.names), set(self.outdated), dict(self.owners)
        for what, name in changes:
            kind, _, latest = what.partition(" ")
            if kind in ("check", "delete", "outdate"):
                if name not in names or (latest and name in outdated):
                    raise Refused(name)
            elif name in names:
                raise Refused(name)
            if kind == "delete":
                names.remove(name)
                outdated.discard(name)
                owners.pop(name, None)
            elif kind == "outdate":
                outdated.add(name)
            elif kind != "check":
                names.add(name)
                self.creates += 1
                if kind == "claim":
                    owners[name] = owner
        self.names, self.outdated, self.owners = names, outdated, owners

    def end_session(self, owner):
        for name in [name for name, whose in self.owners.items() if whose == owner]:
            self.names.remove(name)
            del self.owners[name]

    def choose(self, now_ms, want=100):
        return choose(sorted(self.names), now_ms, want)


CONSUMERS = st.integers(0, 2)


class Items(RuleBasedStateMachine):
    """Consumers that act on what they saw some time ago, die, and lose their claims to an operator."""

    @initialize()
    def begin(self):
        self.bucket = Bucket()
        self.now = 1_000
        self.due = {}  # of each item that is not done
        self.deliveries = {}
        self.seen = dict.fromkeys(range(3), ())  # what each consumer saw at its last look
        self.unread = {}  # (consumer, item name) -> ListedItem: claimed, and perhaps gone before that
        self.claimed = {}  # the same: claimed, read, and not handed out
        self.in_hand = {}  # the same, handed out; it stays when the claim is lost, as in a block that has not heard
        self.latest = {}  # item -> the consumer that was given it last
        self.done = []

    def changed(self, changes, owner=None):
        try:
            self.bucket.apply(changes, owner)
        except Refused:
            return False
        return True

    def holds(self, consumer, item):
        return self.bucket.owners.get(item.claim) == consumer

    @rule(delay=st.sampled_from([0, 0, 5, 50]))
    def put(self, delay):
        due = self.now + delay if delay else 0
        name = self.bucket.put(due)
        self.due[name], self.deliveries[name] = due, 0

    @rule(passed=st.integers(1, 60))
    def time_passes(self, passed):
        self.now += passed

    @rule(consumer=CONSUMERS)
    def look(self, consumer):
        self.seen[consumer] = self.bucket.choose(self.now).claimable

    @precondition(lambda self: any(self.seen.values()))
    @rule(consumer=CONSUMERS, data=st.data())
    def claim(self, consumer, data):
        if not self.seen[consumer]:
            return
        item = data.draw(st.sampled_from(self.seen[consumer]))
        if self.changed(claims.claim(item), consumer):
            self.unread[consumer, item.name] = item

    @precondition(lambda self: self.unread)
    @rule(data=st.data())
    def read(self, data):
        """A claimed item is read, and its claim returned if it was gone."""
        consumer, name = data.draw(st.sampled_from(sorted(self.unread)))
        item = self.unread.pop((consumer, name))
        if name in self.bucket.names:
            self.claimed[consumer, name] = item
        else:
            self.changed(claims.unclaim(item))

    @precondition(lambda self: any(self.seen.values()))
    @rule(consumer=CONSUMERS, data=st.data())
    def claim_and_hand_out(self, consumer, data):
        if not self.seen[consumer]:
            return
        item = data.draw(st.sampled_from(self.seen[consumer]))
        if self.changed(claims.claim_and_hand_out(item), consumer):
            self.was_handed_out(consumer, item)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def hand_out(self, data):
        consumer, name = data.draw(st.sampled_from(sorted(self.claimed)))
        item = self.claimed.pop((consumer, name))
        if self.changed(claims.hand_out_claimed(item)):
            self.was_handed_out(consumer, item)
        elif self.holds(consumer, item):
            assert self.changed(claims.unclaim(item))

    def was_handed_out(self, consumer, item):
        name = item.name
        assert name in self.due, "handed out what is done"
        assert self.due[name] <= self.now, "handed out in its delay"
        assert item.deliveries == self.deliveries[name], "miscounted"
        self.deliveries[name] += 1
        self.due[name] = 0
        self.in_hand[consumer, name] = item
        self.latest[name] = consumer

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def acknowledge(self, data):
        consumer, name = data.draw(st.sampled_from(sorted(self.in_hand)))
        item = self.in_hand.pop((consumer, name))
        held = self.holds(consumer, item) and name in self.due  # a claim can stand after the item is done
        if self.changed(claims.acknowledge(item)):
            assert name not in self.done, "acknowledged twice"
            # Another one that claimed it meanwhile has not been given it.
            assert item.deliveries + 1 == self.deliveries[name]
            del self.due[name]
            self.done.append(name)
        else:
            assert not held, "refused although the claim stood"

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), delay=st.sampled_from([None, 0, 5, 50]))
    def give_back(self, data, delay):
        consumer, name = data.draw(st.sampled_from(sorted(self.in_hand)))
        item = self.in_hand.pop((consumer, name))
        due = self.now + delay if delay else 0
        if self.changed(claims.release(item) if delay is None else claims.retry(item, due)):
            self.deliveries[name] -= delay is None
            self.due[name] = due

    @rule(consumer=CONSUMERS)
    def session_ends(self, consumer):
        self.bucket.end_session(consumer)
        for held in (self.unread, self.claimed, self.in_hand):
            for key in [key for key in held if key[0] == consumer]:
                del held[key]
        self.seen[consumer] = ()

    @precondition(lambda self: self.bucket.owners)
    @rule(data=st.data())
    def somebody_deletes_a_claim(self, data):
        name = data.draw(st.sampled_from(sorted(self.bucket.owners)))
        self.bucket.apply([("delete", name)])

    @precondition(lambda self: any(self.seen.values()))
    @rule(consumer=CONSUMERS, data=st.data())
    def remove(self, consumer, data):
        """As purge and take do, on what was seen some time ago."""
        if not self.seen[consumer]:
            return
        item = data.draw(st.sampled_from(self.seen[consumer]))
        if self.changed(claims.remove(item, claimed=False)):
            del self.due[item.name]
            self.done.append(item.name)

    @invariant()
    def what_is_chosen_is_what_waits_in_order(self):
        choice = self.bucket.choose(self.now)
        free = [name for name in self.due if "c" + name[-10:] not in self.bucket.names]
        waiting = sorted((name for name in free if self.due[name] <= self.now), key=lambda name: name[-10:])
        assert [item.name for item in choice.claimable] == waiting
        assert [item.deliveries for item in choice.claimable] == [self.deliveries[name] for name in waiting]
        assert choice.items == len(self.due)
        assert choice.next_due_ms == min((self.due[name] for name in free if self.due[name] > self.now), default=0)
        waits, delayed, claimed = claims.survey(sorted(self.bucket.names), self.now)
        assert (waits, delayed, claimed) == (
            len(waiting), len(free) - len(waiting), len(self.due) - len(free),
        )  # fmt: skip

    @invariant()
    def nothing_is_left_of_what_is_done(self):
        there = {name[-10:] for name in self.due} | {name[-10:] for _, name in self.unread}
        for name in self.bucket.names:
            assert name[1:11] in there or name[-10:] in there, name


Items.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestItems = Items.TestCase


def test_a_claim_that_was_lost_and_made_again_hands_out_nothing_that_is_done():
    bucket = Bucket()
    item = ListedItem(bucket.put())
    bucket.apply(claims.claim(item), 1)
    bucket.apply([("delete", item.claim)])  # an operator, or another consumer when the lease is over
    bucket.apply(claims.claim_and_hand_out(item), 2)
    bucket.apply(claims.acknowledge(item), 2)
    bucket.apply(claims.claim(item), 1)  # by an older list
    with pytest.raises(Refused):
        bucket.apply(claims.hand_out_claimed(item), 1)


def test_names_made_by_others_are_left_out():
    names = ["c", "config", "d-0000000001", "dx-0000000001", "i-12", "i-0000000007", "ix-0000000008", "w", "z", "h1"]
    assert choose(sorted(names), 0, 10).claimable == [ListedItem("i-0000000007")]


def test_only_what_is_wanted_is_chosen_and_an_item_in_its_delay_blocks_nobody():
    bucket = Bucket()
    for due in (0, 2_000, 0, 0):
        bucket.put(due)
    choice = bucket.choose(1_000, want=2)
    assert [item.number for item in choice.claimable] == ["0000000000", "0000000002"]
    assert choice.next_due_ms == 2_000
    assert [item.number for item in bucket.choose(2_000).claimable][1] == "0000000001"  # at its old place


def test_retry_delay_doubles_up_to_the_longest():
    delays = [claims.retry_delay_ms(count, 0.1, 60.0) for count in (1, 2, 3, 10, 11, 5_000)]
    assert delays == [100, 200, 400, 51_200, 60_000, 60_000]
    assert claims.retry_delay_ms(3, 0, 0) == 0


# The table of docs/queue.md: state, event, next state, delivery counted. "-": the event is refused there.

STATES = {
    "waiting": lambda bucket, item: None,
    "delayed": lambda bucket, item: None,
    "claimed": lambda bucket, item: bucket.apply(claims.claim(item), 1),
    "in hand": lambda bucket, item: bucket.apply(claims.claim_and_hand_out(item), 1),
}
EVENTS = {
    "claim": lambda item: claims.claim(item),
    "hand out": lambda item: claims.hand_out_claimed(item),
    "acknowledge": lambda item: claims.acknowledge(item),
    "fail": lambda item: claims.retry(item, 2_000),
    "release": lambda item: claims.release(item),
    "put back unseen": lambda item: [("check", item.name), *claims.unclaim(item)],
    "bury": lambda item: claims.acknowledge(item),  # together with the put into the dead letters
    "purge": lambda item: claims.remove(item, claimed=False),
}


def rows():
    lines = PAGE.read_text().split("<!-- states -->")[1].strip().splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def state(bucket, item, now_ms):
    if item.name not in bucket.names:
        return "gone"
    if item.claim in bucket.names:
        return "in hand" if any(name.startswith(f"h{item.number}") for name in bucket.names) else "claimed"
    choice = bucket.choose(now_ms)
    return "waiting" if choice.claimable else "delayed"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_u22_the_table_of_states_is_what_happens(row):
    before, event, after, counted = row
    bucket = Bucket()
    name = bucket.put(1_500 if before == "delayed" else 0)
    item = ListedItem(name, 0, 0)
    STATES[before](bucket, item)
    assert state(bucket, item, 1_000) == before
    if event == "its time comes":
        assert state(bucket, item, 3_000) == after
        return
    if event == "session ends":
        bucket.end_session(1)
    else:
        changes = EVENTS[event](item)
        if before == "delayed" and event == "claim":
            # Nobody tries: a look does not show it.
            assert after == "-" and bucket.choose(1_000).claimable == []
            return
        if after == "-":
            with pytest.raises(Refused):
                bucket.apply(changes, 2)
            return
        bucket.apply(changes, 1)
    assert state(bucket, item, 1_000) == {"done": "gone", "dead": "gone"}.get(after, after)
    told = [choice.deliveries for choice in bucket.choose(9_000).claimable]
    if told:
        assert told == [1 if counted == "yes" else 0]


def test_the_table_is_whole():
    events = {"session ends", *EVENTS}
    whole = {(state, event) for state in ("waiting", "claimed", "in hand") for event in events}
    # What is in hand was seen.
    assert whole - {("in hand", "put back unseen")} <= {(row[0], row[1]) for row in rows()}


def handed_out_and_crashed(times):
    """A bucket with one item, how it looked before, and its hand-outs since, each to a session that ended."""
    bucket = Bucket()
    bucket.put()
    (before,) = bucket.choose(0).claimable
    for _ in range(times):
        (item,) = bucket.choose(0).claimable
        bucket.apply(claims.claim(item) + claims.hand_out(item), 1)
        bucket.end_session(1)
    return bucket, before


@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_saw_an_item_long_ago_is_not_given_it(times):
    bucket, before = handed_out_and_crashed(times)
    with pytest.raises(Refused):
        bucket.apply(claims.claim(before) + claims.hand_out(before), 2)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_saw_an_item_long_ago_does_not_remove_it_and_leave_its_history(times):
    bucket, before = handed_out_and_crashed(times)
    with pytest.raises(Refused):
        bucket.apply(claims.remove(before, claimed=False), 2)
    (item,) = bucket.choose(0).claimable
    assert item.deliveries == times
    bucket.apply(claims.remove(item, claimed=False), 2)
    assert bucket.names == set()


@pytest.mark.parametrize("step", [claims.acknowledge, claims.release, lambda item: claims.retry(item, 2_000)])
def test_a_delivery_whose_claim_went_ends_no_later_one(step):
    bucket = Bucket()
    bucket.put()
    (first,) = bucket.choose(1_000).claimable
    bucket.apply(claims.claim(first) + claims.hand_out(first), 1)
    bucket.apply([("delete", first.claim)])  # by an operator, or at the end of its lease
    (second,) = bucket.choose(1_000).claimable
    bucket.apply(claims.claim(second) + claims.hand_out(second), 2)
    with pytest.raises(Refused):
        bucket.apply(step(first))
    bucket.apply(claims.acknowledge(second))
    assert bucket.names == set()
