"""Raft's messages on the quorum port, as it names them."""

from typing import Final

from recipes.core.replicas.wire import Dialect

RAFT_MESSAGES: Final = Dialect("raft", b"recipes/raft")
