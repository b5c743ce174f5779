"""Which tests of a run on several cores go to the same worker."""

from __future__ import annotations

import re

from xdist.scheduler import LoadFileScheduling

_SHARES_APACHE = re.compile(r"\[(.*-)?apache(-(asyncio|trio).*)?\]$")


class ByFileAndServer(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A file's tests go to one worker, with two exceptions.

    Those with Apache's server all go to the same one: each worker has its own servers, and a JVM is the dearest of
    them. Simulated runs share nothing and take long: each goes where there is room.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        if scope.startswith("tests/simulation/"):
            return nodeid
        return "apache" if _SHARES_APACHE.search(nodeid) else scope
