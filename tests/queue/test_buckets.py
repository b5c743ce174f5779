"""Steps of items that differ only in their number are encoded once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.client.multi import Multi
from recipes.core.client.namespace import Namespace
from recipes.core.client.session import Session
from recipes.queue import claims
from recipes.queue.buckets import Buckets
from recipes.queue.claims import ListedItem

STEPS = (
    claims.claim, claims.claim_and_hand_out, claims.hand_out_claimed, claims.acknowledge, claims.release,
    claims.unclaim,
)  # fmt: skip
ITEMS = st.builds(
    lambda start, number, deliveries, due: ListedItem(f"{start}-{number:010d}", deliveries, due, due > 0),
    st.sampled_from(["i", "d5000"]), st.integers(0, 2**31 - 1), st.integers(0, 2), st.sampled_from([0, 0, 7000]),
)  # fmt: skip


class Clientless:
    """What Buckets needs to encode."""

    def __init__(self, chroot: str) -> None:
        self.namespace = Namespace(Session(1.0), lambda call: call, 1 << 20)
        self.namespace.chroot = chroot

    def multi(self) -> Multi:
        return Multi(self.namespace)


@given(st.lists(st.tuples(st.sampled_from(STEPS), ITEMS), max_size=20), st.sampled_from(["", "/##########"]))
def test_a_step_is_what_its_changes_are_one_by_one(steps, chroot):
    """Also where the queue's path, its chroot or the claim's data have the text that stands for a number."""
    buckets = Buckets(Clientless(chroot), "/##########/items")  # type: ignore[arg-type]
    for step, item in steps:
        for data in (b"", b"c##########"):
            fast = buckets.step("100-0000000000", item, step, data)
            plain = buckets.operations("100-0000000000", step(item), data)
            assert (b"".join(fast.encoded), fast.count) == (b"".join(plain.encoded), plain.count)


def test_what_is_encoded_once_is_bounded():
    buckets = Buckets(Clientless(""), "/q/items")  # type: ignore[arg-type]
    for number in range(1000):
        buckets.step(f"100-{number:010d}", ListedItem("i-0000000000"), claims.claim)
    assert len(buckets._patterns) <= 64


@pytest.mark.anyio
async def test_a_refused_multi_names_the_path_of_its_operation(client, root):
    await client.ensure_path(f"{root}/a")
    step = client.multi()
    step.delete(f"{root}/b", 3)
    for ahead in range(3):
        multi = client.multi()
        multi.create(f"{root}/b", b"/x", sequential=True)
        multi.set(f"{root}/a", b"/y")
        for _ in range(ahead):
            multi.check(f"{root}/a")
        multi.append(step.encoded[0], 1)
        outcome = await multi.start(guards=[root], only_first=True).result()
        assert (type(outcome.error).__name__, outcome.error.path) == ("NoNode", f"{root}/b")
        assert outcome.failed_at == multi.count - 1
