"""Greetings and notifications of the election port: Apache's bytes read and written back, old layouts, bounds."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import WireError
from recipes.core.jute.frames import FrameReader
from recipes.core.jute.votes import (
    FOLLOWING,
    LEADING,
    LOOKING,
    MAX_NOTIFICATION_BYTES,
    MIN_ZXID,
    Greeting,
    Notification,
    decode_notification,
    encode_greeting,
    encode_notification,
    read_greeting,
)

NOTIFICATIONS = [
    ("LOOKING, ours, observer", (LOOKING, MIN_ZXID, MIN_ZXID, 1, MIN_ZXID), 1),
    ("LEADING, Apache sid 2", (LEADING, 2, 0, 1, 1), 4),
    ("FOLLOWING, Apache sid 1", (FOLLOWING, 2, 0, 1, 1), 4),
    ("LOOKING, Apache sid 2", (LOOKING, 2, 0, 1, 0), 3),
]


@pytest.mark.parametrize(("title", "fields", "members"), NOTIFICATIONS)
def test_apaches_notifications_are_read_and_written_back(election_port, title, fields, members):
    raw = election_port[title]
    (payload,) = FrameReader(MAX_NOTIFICATION_BYTES).feed(raw)
    note = decode_notification(payload)
    assert note is not None
    assert note[:5] == fields
    assert note.config.count(b"server.") == members
    assert note.config.endswith(b"\nversion=0")
    assert encode_notification(note) == raw
    assert len(election_port) == len(NOTIFICATIONS) + 2


@pytest.mark.parametrize(
    ("title", "greeting"),
    [
        ("greeting of Apache, sid 2", Greeting(2, ("127.0.0.1:22212",))),
        ("greeting of ours, observer 4", Greeting(4, ("127.0.0.1:22204",))),
    ],
)
def test_apaches_greetings_are_read_and_written_back(election_port, title, greeting):
    raw = election_port[title]
    assert read_greeting(raw + b"behind") == (greeting, len(raw))
    assert encode_greeting(greeting.sid, *greeting.addresses) == raw
    assert all(read_greeting(raw[:cut]) is None for cut in range(len(raw)))


def test_greetings_of_other_versions():
    assert read_greeting(struct.pack(">q", 3) + b"x") == (Greeting(3, ()), 8)
    several = struct.pack(">qqi", -65535, 3, 7) + b"a:1|b:2"
    assert read_greeting(several) == (Greeting(3, ("a:1", "b:2")), len(several))
    with pytest.raises(WireError):
        read_greeting(struct.pack(">q", -65534))


@pytest.mark.parametrize("length", [0, -1, 2049, 2**31 - 1])
def test_an_address_of_unreasonable_length_is_refused(length):
    with pytest.raises(WireError):
        read_greeting(struct.pack(">qqi", -65536, 3, length))


LONG = st.integers(-(2**63), 2**63 - 1)


@given(st.builds(Notification, st.integers(0, 3), LONG, LONG, LONG, LONG, st.binary(max_size=50)))
def test_notifications_round_trip(note):
    (payload,) = FrameReader().feed(encode_notification(note))
    assert decode_notification(payload) == note


@given(st.binary(max_size=100))
def test_any_payload_is_a_notification_or_dropped(payload):
    note = decode_notification(payload)
    assert note is None or note.state in (0, 1, 2, 3)


def test_short_layouts_of_older_servers():
    zxid = 0x5_00000003
    assert decode_notification(struct.pack(">iqqq", 0, 2, zxid, 7)) == (0, 2, zxid, 7, 5, b"")
    assert decode_notification(struct.pack(">iqqqqi", 0, 2, zxid, 7, 6, 2)) == (0, 2, zxid, 7, 6, b"")
    assert decode_notification(struct.pack(">iqqqqii", 0, 2, zxid, 7, 6, 1, 99)) == (0, 2, zxid, 7, 6, b"")


@pytest.mark.parametrize("size", [0, 27, 29, 36, 39, 41, 43])
def test_other_lengths_are_dropped(size):
    whole = struct.pack(">iqqqqii", 0, 2, 0, 7, 6, 2, 0)
    assert decode_notification(whole[:size]) is None


@pytest.mark.parametrize("length", [-1, 5, 2**31 - 1])
def test_a_wrong_config_length_drops_the_notification(length):
    assert decode_notification(struct.pack(">iqqqqii", 0, 2, 0, 7, 6, 2, length) + b"four") is None


@pytest.mark.parametrize("state", [-1, 4])
def test_an_unknown_state_drops_the_notification(state):
    assert decode_notification(struct.pack(">iqqqqii", state, 2, 0, 7, 6, 2, 0)) is None
