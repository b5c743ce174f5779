"""Lines by the names of other libraries: the one rule decides there as these decide themselves."""

from types import SimpleNamespace
from uuid import UUID

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.recipe.lock import ReadLock, WriteLock

from recipes import BadArguments, Election, Lock, ReadWriteLock, Semaphore
from recipes.line import ALL, fence_of, id_of, in_order, kind_of, permits_of, place_behind, standing, strangers
from recipes.naming import LINES, MARKERS, ask_to_leave, beginning, is_asked, line_of, marker_of
from tests.lock.conftest import store  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio

numbers = st.lists(st.integers(0, 2**31 - 1), unique=True, min_size=1, max_size=8)


def names_of(naming, kinds, order, draw_bits):
    return [
        f"{beginning(MARKERS[naming][kind], '', draw_bits)}{number:010d}"
        for kind, number in zip(kinds, order, strict=False)
    ]


@given(st.lists(st.sampled_from(["read", "write"]), min_size=8, max_size=8), numbers, st.randoms())
def test_kazoos_own_rule_and_ours_say_the_same(kinds, order, random):
    names = names_of("kazoo", kinds, order, random.getrandbits)
    line = in_order(names, line_of("__lock__"))
    for name, kind in zip(names, kinds, strict=False):
        theirs = (ReadLock if kind == "read" else WriteLock)(
            SimpleNamespace(
                handler=SimpleNamespace(event_object=object, lock_object=object, sleep_func=None),
                get_children=lambda path: names,
            ),
            "/line",
        )
        theirs.prefix = name[:-10]
        in_front = theirs._get_predecessor(name)
        ours = standing(name, line)
        assert ours.holds == (in_front is None)
        assert ours.behind == (in_front or "")


@given(st.lists(st.sampled_from(["read", "write"]), min_size=8, max_size=8), numbers, st.randoms())
def test_curators_rule_and_ours_say_the_same(kinds, order, random):
    """As InterProcessReadWriteLock decides: by the place among all children, and by the first writer."""
    names = names_of("curator", kinds, order, random.getrandbits)
    line = in_order(names, line_of("-__READ__"))
    children = sorted(names, key=lambda name: name.rpartition("__")[2])
    writers = [place for place, name in enumerate(children) if "__WRIT__" in name]
    for name in names:
        place = children.index(name)
        holds = place < min(writers, default=ALL) if "__READ__" in name else place == 0
        assert standing(name, line).holds == holds


@pytest.mark.parametrize(
    ("name", "kind", "id"),
    [
        ("6a7d0f5e__lock__0000000001", "lock", "6a7d0f5e"),
        ("6a7d0f5e__rlock__0000000001", "read", "6a7d0f5e"),
        ("_c_5b8f-11-lock-0000000001", "lock", "5b8f-11"),
        ("_c_5b8f-11-__READ__0000000001", "read", "5b8f-11"),
        ("_c_5b8f-11-__WRIT__0000000001", "write", "5b8f-11"),
        ("_c_5b8f-11-latch-0000000001", "lead", "5b8f-11"),
        ("_c_5b8f-11-lease-0000000001", "permits", "5b8f-11"),
        ("lock-0000000001", "lock", ""),
        ("a.zz-lock-0000000001", "lock", "a.zz"),
    ],
)
def test_what_the_names_of_other_libraries_say(name, kind, id):
    assert (kind_of(name), id_of(name, f"{kind}-"), fence_of(name)) == (kind, id, 0)
    assert permits_of(name) == (1 if kind in ("read", "permits") else ALL)


@given(st.sampled_from(["kazoo", "curator"]), st.integers(0, 2**31 - 1), st.randoms())
def test_a_reader_takes_the_place_of_a_writer_there_too(naming, number, random):
    writer = f"{beginning(MARKERS[naming]['write'], '', random.getrandbits)}{number:010d}"
    reader = place_behind(writer, "read", 7)
    assert reader == writer.replace("__lock__", "__rlock__").replace("__WRIT__", "__READ__")
    assert kind_of(reader) == "read" and permits_of(reader) == 1


@given(st.sampled_from(sorted({marker for kinds in MARKERS.values() for marker in kinds.values()})), st.randoms())
def test_each_name_that_we_make_is_in_its_line_and_a_stranger_in_those_of_other_libraries(marker, random):
    name = f"{beginning(marker, '', random.getrandbits)}0000000007"
    assert in_order([name], line_of(marker)) == [name]
    assert strangers([name], marker) == []
    for line in LINES:
        if marker in line or (marker == "lead-" and line[0] == "lock-"):
            continue
        # Curator takes everything with its marker and a number for one of its own, and so do we by its naming.
        its = line[0] == "-lock-" and marker == "lock-"
        assert in_order([name], line) == ([name] if its else [])
        assert (strangers([name], line[0]) == []) == its or marker.startswith(("-", "_"))


def test_an_id_of_curator_is_a_uuid():
    name = beginning("-lock-", "", lambda bits: 5)
    assert UUID(name[3:39]).version == 4 and name[39:] == "-lock-"


def test_who_is_asked_to_give_up_sees_it_by_each_naming():
    for name in ("_r_1-lock-0000000001", "1__lock__0000000001"):
        asked = ask_to_leave(b"me", name)
        assert is_asked(asked, name) == (b"me", True)
        assert ask_to_leave(asked, name) == asked
        asked.decode()  # which kazoo does
    assert ask_to_leave(b"me", "_c_1-lock-0000000001") == b"__REVOKE__"
    assert is_asked(b"__REVOKE__", "_c_1-lock-0000000001") == (b"", True)
    assert is_asked(b"me", "_c_1-lock-0000000001") == (b"me", False)


def test_what_a_naming_has_no_place_for_is_refused_by_name(store):  # noqa: F811
    client = store.client()
    for kind in (Lock, ReadWriteLock):
        with pytest.raises(BadArguments, match="naming='zk': expected one of 'native', 'kazoo', 'curator'"):
            kind(client, "/a", naming="zk")
        with pytest.raises(BadArguments, match=r"data=b'\\xff': expected UTF-8.*naming='kazoo'"):
            kind(client, "/a", b"\xff", naming="kazoo")
        with pytest.raises(BadArguments, match=r"data=b'__REVOKE__': naming='curator'"):
            kind(client, "/a", b"__REVOKE__", naming="curator")
    with pytest.raises(BadArguments, match=r"naming='zk': expected one of 'native', .*'curator-latch'"):
        Election(client, "/a", naming="zk")
    with pytest.raises(BadArguments, match="naming='curator-latch': expected one of"):
        Lock(client, "/a", naming="curator-latch")
    for naming in ("kazoo", "curator"):
        semaphore = Semaphore(client, "/a", 3, naming=naming)
        with pytest.raises(BadArguments, match=f"permits=2: naming='{naming}' supports one at a time"):
            semaphore.try_acquire(2)
    assert marker_of("/a", "native", "lock", b"\xff") == "lock-"


@pytest.mark.parametrize("naming", ["kazoo", "curator", "curator-latch"])
async def test_weights_and_hand_overs_are_refused_where_candidates_do_not_know_of_them(store, naming):  # noqa: F811
    for more in ({"weight": 3}, {"min_hold": 1.0}):
        with pytest.raises(BadArguments, match=f"{next(iter(more))}=.*: naming='{naming}' does not support weights"):
            Election(store.client(), "/a", naming=naming, **more)
    async with Election(store.client(), "/a", b"one", naming=naming).lead() as term:
        with pytest.raises(BadArguments, match="to='x': candidates with another library's names do not give way"):
            await term.transfer("x")
        await term.announce(b"two")
        assert [each.data for each in await Election(store.client(), "/a", naming=naming).candidates()] == [b"two"]


@pytest.mark.parametrize("naming", ["kazoo", "curator"])
async def test_resizing_is_refused_where_the_limit_is_not_ours(store, naming):  # noqa: F811
    with pytest.raises(BadArguments, match=rf"resize\(4\): naming='{naming}' does not support it"):
        await Semaphore(store.client(), "/a", 3, naming=naming).resize(4)


@pytest.mark.parametrize("naming", ["kazoo", "curator"])
async def test_a_number_that_wrapped_is_refused_and_leaves_nothing(store, naming):  # noqa: F811
    store.counters["/a"] = -(2**31)
    with pytest.raises(BadArguments, match=f"naming='{naming}': the sequence numbers at this path have wrapped"):
        async with Lock(store.client(), "/a", naming=naming):
            pass
    assert store.names("/a") == []
    async with Lock(store.client(), "/a"):  # ours goes on
        pass


async def test_two_namings_at_one_path_are_told_of_one_another_once(store, caplog):  # noqa: F811
    async with Lock(store.client(), "/a", naming="kazoo"), Lock(store.client(), "/a"):
        assert len(caplog.records) == 1 and "naming=" in caplog.text  # said by the second
        client = store.client()
        for _ in range(2):
            async with Lock(client, "/a", naming="kazoo").try_acquire() as none:
                assert none is None
        assert len(caplog.records) == 2


async def test_the_permits_of_kazoo_are_children_of_any_name(store):  # noqa: F811
    async def take():
        async with Semaphore(store.client(), "/a", 2, naming="kazoo").try_acquire() as grant:
            return grant is not None

    assert await take()
    assert store.nodes["/a"][0] == b"2"
    other = store.client()
    for name in ("6a7d0f5e", "another"):
        await other._request("create", f"/a/{name}", lambda name=name: other._create(f"/a/{name}", b"", True, False))
        assert await take() == (name == "6a7d0f5e")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Semaphore(store.client(), "/a", 2, naming="kazoo").acquire)
            while len(store.watches) < 2:
                await anyio.sleep(0)
            await other.delete("/a/another")
    assert len(store.names("/a")) == 2 and store.names("/a-__lock__") == []
