"""The event loops on which a connection to a database must work: uvloop treats sockets in a way of its own."""

from importlib.util import find_spec

import pytest

needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="needs uvloop")
# Parameters of a module's own fixture `anyio_backend`.
LOOPS = ["asyncio", "trio", pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop", marks=needs_uvloop)]
