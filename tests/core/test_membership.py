"""Which servers are a quorum, and the lines of zoo.cfg that say so. Texts are those of Apache ZooKeeper 3.8.0."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.ensemble import parse_membership, read_membership
from recipes.core.errors import ConfigError
from recipes.core.properties import read_properties
from recipes.core.quorum import Membership, QuorumServer


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def parsed(text: str) -> Membership:
    membership = parse_membership(properties(text))
    assert membership is not None
    return membership


FIVE = "\n".join(f"server.{sid}=127.0.0.1:288{sid}:388{sid}" for sid in range(1, 6)) + "\n"
GROUPS = FIVE + "group.1=1:2\ngroup.2=3:4:5\nweight.3=0\nweight.1=3\n"


def test_the_text_is_apaches():
    text = "server.1=127.0.0.1:2888:3888;2191\nserver.2=b:2889:3889;10.0.0.1:2192\n"
    text += "server.3=[::1]:2890:3890:Observer;[fe80::1]:2193\n"
    assert parsed(text).config_text() == (
        b"server.1=127.0.0.1:2888:3888:participant;0.0.0.0:2191\n"
        b"server.2=b:2889:3889:participant;10.0.0.1:2192\n"
        b"server.3=[0:0:0:0:0:0:0:1]:2890:3890:observer;[fe80:0:0:0:0:0:0:1]:2193\n"
        b"version=0"
    )
    assert parsed(GROUPS).config_text().decode() == (
        "".join(f"server.{sid}=127.0.0.1:288{sid}:388{sid}:participant\n" for sid in range(1, 6))
        + "group.1=1:2\ngroup.2=3:4:5\nweight.1=3\nweight.2=1\nweight.3=0\nweight.4=1\nweight.5=1\nversion=0"
    )


def test_a_line_is_a_server():
    membership = parsed("server.7=h7:2888:3888: Observer;h8:2181\nserver.3=h3:1:2\nother=1\n")
    assert membership.servers[7] == QuorumServer(7, "h7", 2888, 3888, True, "h8:2181")
    assert list(membership.servers) == [3, 7]
    assert (membership.voters, membership.observers) == ((3,), (7,))


def test_no_servers_no_ensemble():
    assert parse_membership({"dataDir": "/d", "initLimit": "5"}) is None


@pytest.mark.parametrize(
    "line",
    [
        "server.1=",
        "server.1=a",
        "server.1=a:1",
        "server.1=a:1:1",
        "server.1=a:0:1",
        "server.1=a:1:65536",
        "server.1=a:1:2:boss",
        "server.1=a:1:2:observer:3",
        "server.1=a:1x:2",
        "server.1=a:1:2;",
        "server.1=a:1:2;x",
        "server.1=a:1:2;3;4",
        "server.1=a:1:2;65536",
        "server.1=a:1:2|",
        "server.1=a:1:2|b:1",
        "server.1=a:1:2|a:1:2",
        "server.1=a:1:2:observer|b:1:2:participant",
        "server.1=a:1:2;3|b:1:2",
        "server.1=[::g]:1:2",
        "server.1=::1:1:2",
        "server.1=:1:2",
        "server.x=a:1:2",
        "server.=a:1:2",
        "server.-1=a:1:2",
        "server.256=a:1:2",
        "server.2.3=a:1:2",
        "server.02=a:1:2",
        "group.1=2",
        "group.1=2:3:9",
        "group.1=2,3",
        "group.x=2:3",
        "group.1=2:3:4",
        "group.1=2:2:3",
        "weight.2=1",
        "weight.2=-1",
        "weight.2=x",
        "weight.x=1",
    ],
)
def test_a_wrong_line_is_refused_by_its_key(line):
    key, _, value = line.partition("=")
    others = properties("server.2=b:2888:3888\nserver.3=c:2888:3888\nserver.4=c:2889:3889:observer\n")
    with pytest.raises(ConfigError) as caught:
        parse_membership(others | {key: value})
    assert (caught.value.key, caught.value.value) == (key, value)


def test_groups_must_hold_every_voter_once_and_weigh_something():
    for lines in ("group.1=1:2\ngroup.2=3:4\n", "group.1=1:2:3\ngroup.2=3:4:5\n"):
        with pytest.raises(ConfigError):
            parse_membership(properties(FIVE + lines))
    weightless = "group.1=1:2:3:4:5\n" + "".join(f"weight.{sid}=0\n" for sid in range(1, 6))
    with pytest.raises(ConfigError, match="weigh more than 0"):
        parse_membership(properties(FIVE + weightless))


def test_a_majority_of_voters_is_a_quorum():
    membership = parsed(FIVE.replace("3885", "3885:observer"))
    assert not membership.is_quorum([])
    assert not membership.is_quorum([1, 2])
    assert not membership.is_quorum([1, 2, 5, 9])  # an observer and a stranger do not count
    assert not membership.is_quorum([1, 2, 2])
    assert membership.is_quorum([1, 2, 3])
    assert (membership.weight(4), membership.weight(5), membership.weight(9)) == (1, 0, 0)


def test_weight_in_a_majority_of_groups_is_a_quorum():
    membership = parsed(GROUPS)  # 3+1 in the first group, 0+1+1 in the second
    assert membership.is_quorum([1, 4, 5])
    assert not membership.is_quorum([1, 2, 4])  # half of a group is not more than half
    assert not membership.is_quorum([2, 3, 4, 5])
    assert not membership.is_quorum([1, 2])  # one group of two
    assert (membership.weight(1), membership.weight(3)) == (3, 0)


def test_a_group_that_weighs_nothing_does_not_count():
    membership = parsed(FIVE + "group.1=1:2:3\ngroup.2=4\ngroup.3=5\nweight.4=0\nweight.5=0\n")
    assert membership.is_quorum([1, 2])
    assert not membership.is_quorum([1, 4, 5])


def servers(count: int) -> list[QuorumServer]:
    return [QuorumServer(sid, "h", 1, 2, observer=sid > count) for sid in range(1, count + 2)]


memberships = st.one_of(
    st.integers(1, 7).map(lambda count: Membership(servers(count))),
    st.lists(st.integers(1, 5), min_size=6, max_size=6).flatmap(
        lambda weights: st.sampled_from(
            [{1: (1, 2, 3, 4, 5, 6)}, {1: (1, 2), 2: (3, 4, 5), 3: (6,)}, {1: (1, 5), 2: (2, 3, 4, 6)}]
        ).map(lambda groups: Membership(servers(6), groups, dict(zip(range(1, 7), weights, strict=True))))
    ),
)


@given(memberships)
def test_two_quorums_always_share_a_server(membership):
    everyone = list(membership.servers)
    subsets = [set(some) for size in range(len(everyone) + 1) for some in combinations(everyone, size)]
    quorums = [some for some in subsets if membership.is_quorum(some)]
    assert quorums
    assert all(one & other for one in quorums for other in quorums)


@given(memberships, st.dictionaries(st.integers(1, 9), st.integers(0, 9)))
def test_committed_is_what_a_quorum_holds(membership, held):
    expected = -1
    for zxid in sorted(held.values()):
        if membership.is_quorum([sid for sid, last in held.items() if last >= zxid]):
            expected = zxid
    assert membership.committed(held) == expected


@pytest.mark.parametrize(
    ("value", "observer", "client"),
    [
        ("b:1:2|[::1]:3:4|a:1:2", False, ""),
        ("b:1:2:observer|[::1]:3:4|a:1:2;5", True, "0.0.0.0:5"),
        ("b:1:2:participant|[::1]:3:4:participant|a:1:2;c:5", False, "c:5"),
    ],
)
def test_a_server_may_have_several_addresses(value, observer, client):
    membership = parse_membership({"server.1": value})
    (server,) = membership.servers.values()
    assert server.addresses == (("b", 1, 2), ("0:0:0:0:0:0:0:1", 3, 4), ("a", 1, 2))
    assert (server.observer, server.client) == (observer, client)
    role, behind = ("observer" if observer else "participant"), (f";{client}" if client else "")
    # In the order of the hosts, as Apache's server writes it.
    assert membership.config_text().decode() == (
        f"server.1=[0:0:0:0:0:0:0:1]:3:4|a:1:2|b:1:2:{role}{behind}\nversion=0"
    )


def test_servers_share_no_port_at_any_of_their_addresses(tmp_path):
    config = tmp_path / "zoo.cfg"
    lines = ["server.1=a:1:2|b:1:2", "server.2=c:1:2|B:3:1"]
    config.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"ports of its own: server\.1 has port 1 of B too"):
        read_membership(read_properties(config.read_text(), str(config)))
