"""Which tests of a run on several cores go to the same worker."""

from __future__ import annotations

import re

from xdist.scheduler import LoadFileScheduling

_SHARES_APACHE = re.compile(r"\[(.*-)?apache(-(asyncio|trio).*)?\]$")


class ByFileAndServer(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A file's tests go to one worker, those with Apache's server aside: one worker has them all.

    Each worker has its own servers, and a JVM is the dearest of them.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "apache" if _SHARES_APACHE.search(nodeid) else scope
