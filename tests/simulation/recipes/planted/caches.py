"""In caches."""

from typing import Any

from recipes.cache.copy import Copy
from recipes.cache.mirror import Mirror
from recipes.core.client.session import ConnectionState
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("cache", 5, "R15")
def a_cache_that_was_cut_off_reads_nothing_again(patch: Patch) -> None:
    def heard(self: Mirror, state: ConnectionState) -> None:
        self.stale_since = None if state is ConnectionState.CONNECTED else self._client.clock()
        self._wake()

    patch.setattr(Mirror, "_heard_state", heard)


@planted("cache", 2, "R15")
def what_happens_while_a_znode_is_read_is_ignored(patch: Patch) -> None:
    original = Copy._done

    def done(self: Copy, ask: Any) -> None:
        self._again.discard(ask.path)
        original(self, ask)

    patch.setattr(Copy, "_done", done)


@planted("cache", 10, "R15")
def children_that_are_known_are_not_read_again(patch: Patch) -> None:
    """Curator's CURATOR-391 was of this kind: after a reconnect, a change below goes unseen."""

    def keep_only(self: Copy, path: str, children: set[str]) -> None:
        for child in self.children(path):
            if child not in children:
                self._drop(child)
        for child in sorted(children - set(self.nodes)):
            self._owed.add(child)
            self._read(child)

    patch.setattr(Copy, "_keep_only", keep_only)


@planted("cache", 2, "R4")
def a_cache_leaves_its_watches_behind(patch: Patch) -> None:
    def close(self: Mirror) -> None:
        if self._open:
            self._stop()

    patch.setattr(Mirror, "close", close)
