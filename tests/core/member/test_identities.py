"""Who a connection is: it goes to the leader with every write, in one packet that has a limit."""

from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.frames import frame
from recipes.core.jute.records import ConnectRequest, encode_connect_request
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree


def test_no_more_identities_than_a_request_can_carry_to_the_leader():
    member = Member(MemberConfig(max_frame_bytes=4096), DataTree(), Standalone(0), 0, 0)
    connection = member.connect(("127.0.0.1", 1))
    connection.receive(frame(encode_connect_request(ConnectRequest(0, 10_000, 0, bytes(16)))))
    for write in member.take_writes():
        member.flushed(write.zxid)
    for user in (b"a", b"b"):
        assert not connection.wants_close
        credentials = write_buffer(b"digest") + write_buffer(user * 2500 + b":secret")
        connection.receive(frame(pack_int(-4) + pack_int(op.AUTH) + pack_int(0) + credentials))
    assert connection.wants_close
    assert member.stats.auth_failed == 1
