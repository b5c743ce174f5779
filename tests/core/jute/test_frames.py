"""Frames come out whole however the stream is cut, and a bad length is refused on sight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import WireError
from recipes.core.jute.frames import FrameReader, frame


@given(st.lists(st.binary(max_size=30), max_size=6), st.lists(st.integers(0, 40), max_size=20))
def test_any_cut_gives_the_same_frames(payloads, cuts):
    stream = b"".join(frame(payload) for payload in payloads)
    reader, found, at = FrameReader(), [], 0
    for cut in [*cuts, len(stream)]:
        found += reader.feed(stream[at : at + cut])
        at += cut
    assert found == payloads


def test_byte_at_a_time():
    stream = frame(b"one") + frame(b"") + frame(b"three")
    reader = FrameReader()
    found = [payload for byte in stream for payload in reader.feed(bytes([byte]))]
    assert found == [b"one", b"", b"three"]


@pytest.mark.parametrize("length", [-1, -(2**31), 0x100000])
def test_a_length_out_of_range_is_refused_before_its_body(length):
    with pytest.raises(WireError, match=str(length)):
        FrameReader().feed(length.to_bytes(4, "big", signed=True))


def test_the_longest_frame_is_accepted():
    payload = bytes(0xFFFFF)
    assert FrameReader().feed(frame(payload)) == [payload]
