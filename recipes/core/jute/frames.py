"""Frames: a 32-bit length and that many bytes, in both directions of the client port."""

from typing import Final

from recipes.core.errors import WireError
from recipes.core.jute.codec import pack_int, un_int

MAX_FRAME_BYTES: Final = 0xFFFFF  # jute.maxbuffer


class FrameReader:
    """Splits a byte stream into frames; the stream may arrive in pieces of any size.

    limit_bytes: the longest frame accepted; None for no limit.
    """

    __slots__ = ("_data", "_limit_bytes")

    def __init__(self, limit_bytes: int | None = MAX_FRAME_BYTES) -> None:
        self._data = b""
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; return the payloads now complete. Raises WireError as soon as it reads a length out of range."""
        data = self._data + data if self._data else data
        at, size, limit = 0, len(data), self._limit_bytes
        payloads = []
        while size - at >= 4:
            length = un_int(data, at)[0]
            if length < 0 or (limit is not None and length > limit):
                raise WireError(f"frame of {length} bytes: expected 0 to {limit}")
            end = at + 4 + length
            if end > size:
                break
            payloads.append(data[at + 4 : end])
            at = end
        self._data = data[at:]
        return payloads


def frame(payload: bytes) -> bytes:
    """The payload with its length in front."""
    return pack_int(len(payload)) + payload
