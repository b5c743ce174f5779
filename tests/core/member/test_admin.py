"""What a member tells operators, by word and by command, without a network."""

import json

import pytest

from recipes.core.address import java_host, java_host_port
from recipes.core.member.commands import COMMANDS, command
from recipes.core.member.config import MemberConfig
from recipes.core.member.listing import json_pieces
from recipes.core.member.member import Member
from recipes.core.member.metrics import prometheus
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree

NOT_SERVING = "This ZooKeeper instance is not currently serving requests"


def member_of(serving=True):
    replica = Standalone(0)
    replica.serving = serving
    return Member(MemberConfig(four_letter_whitelist=("*",)), DataTree(), replica, 0, 1_700_000_000_000)


def said(member, word):
    answer = member.four_letter(word)
    return (answer if isinstance(answer, bytes) else b"".join(answer)).decode()


def as_json(member, asked):
    return json.loads("".join(json_pieces(command(member, asked))))


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("::1", "0:0:0:0:0:0:0:1"),
        ("::", "0:0:0:0:0:0:0:0"),
        ("2001:db8::a:0:1", "2001:db8:0:0:0:a:0:1"),
        ("2001:0db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1%eth0"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("zk-1.example.org", "zk-1.example.org"),
        ("", ""),
    ],
)
def test_servers_10_a_host_is_shown_as_java_does(host, shown):
    assert java_host(host) == shown


def test_servers_10_ipv6_addresses_have_brackets():
    member = member_of()
    member.connect(("::1", 35584))
    for word in (b"cons", b"stat", b"dump"):
        assert "/[0:0:0:0:0:0:0:1]:35584" in said(member, word)
    assert as_json(member, "cons")["connections"][0]["remote_socket_address"] == "[0:0:0:0:0:0:0:1]:35584"
    assert java_host_port("127.0.0.1", 1) == "127.0.0.1:1"


@pytest.mark.parametrize("name", COMMANDS)
def test_servers_4_a_command_without_a_quorum_says_so(name):
    answer = command(member_of(serving=False), name)
    told_always = ("environment", "get_trace_mask", "set_trace_mask", "system_properties", "zabstate")
    assert (answer["error"] == NOT_SERVING) == (name not in told_always)
    if name not in told_always:
        assert set(answer) == {"command", "error"}


@pytest.mark.parametrize(
    ("word", "answer"),
    [(b"envi", b"Environment:"), (b"gtmk", b"306"), (b"stmk\0\0\0\0\0\0\0\x4d", b"77"), (b"ruok", b"imok"),
     (b"isro", b"null"), (b"srvr", NOT_SERVING.encode()), (b"mntr", NOT_SERVING.encode())],
)  # fmt: skip
def test_servers_4_words_without_a_quorum(word, answer):
    assert said(member_of(serving=False), word).startswith(answer.decode())


def test_metrics_are_there_without_a_quorum():
    assert "\nznode_count " in prometheus(member_of(serving=False))


def test_latencies_of_a_connection_are_shown():
    member = member_of()
    connection = member.connect(("10.0.0.1", 1))
    connection.session_id = 5
    connection.last_xid, connection.packets_out = 7, 2
    connection._count_late(30, 6)
    connection._count_late(10, 7)
    shown = as_json(member, "cons")["connections"][0]
    assert (shown["last_latency"], shown["avg_latency"], shown["max_latency"]) == (10, 20, 30)
    connection.last_xid = 8  # answered at once, or not yet
    assert "llat=0,minlat=0,avglat=20,maxlat=30" in said(member, b"cons")
    said(member, b"crst")
    assert "maxlat=0" in said(member, b"cons")
