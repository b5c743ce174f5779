"""An ensemble of ours becomes one of Apache's, member by member on the same directories, and ours again, under load.

Each member is stopped only when the one before serves again, and by SIGTERM: 3.8.0 acknowledges NEWLEADER before what
it was synced with is on its disk (ZOOKEEPER-4646), so that killing two of its members one behind the other can lose
what was acknowledged. A COMMIT between NEWLEADER and UPTODATE ends the connection of a 3.8.0 learner
(ZOOKEEPER-4394): behind a leader of its own kind it may need a second attempt to join, which the deadline allows for.
What it was synced with is then twice in its log, zxids going backwards, and it counts digests that differ when it reads
that again; the member of ours that takes over such a directory relies on none of it and is sent a snapshot.
While a leader is stopped that has a follower of Apache's, nothing is written: a 3.8.0 follower that loses its leader
with a txn on its way to the disk votes with that txn and never writes it (ZOOKEEPER-4712), a hole at the end of an
epoch that nothing in the log shows. Where all its followers are ours, as at first, a leader is stopped under load.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.protocol.states import KazooState

# It starts a JVM nine times; tests/integration/test_ensembles.py changes the kind of one member.
pytestmark = [pytest.mark.apache, pytest.mark.needs("java"), pytest.mark.thorough]

SECONDS = 60


@contextmanager
def kazoo_client(hosts: str) -> Iterator[KazooClient]:
    """Not started; closed however the block ends, for a socket left open fails whichever test runs when it is found."""
    client = KazooClient(hosts=hosts, timeout=10)
    try:
        yield client
    finally:
        client.stop()
        client.close()


class Load:
    """Creates one znode behind the other, and remembers what was acknowledged."""

    def __init__(self, client: KazooClient) -> None:
        self._client = client
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self.acknowledged: list[str] = []
        self.unknown: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._client.start(SECONDS)
        self._client.create("/load")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is written meanwhile, and nothing that was is without an answer."""
        with self._writing:
            yield

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.005):
            path = f"/load/{number:06}"
            number += 1
            with self._writing:
                self._write(path)

    def _write(self, path: str) -> None:
        try:
            self._client.retry(self._client.create, path)
        except NodeExistsError:
            self.acknowledged.append(path)  # an attempt of unknown outcome was carried out
        except KazooException:
            self.unknown.append(path)
        else:
            self.acknowledged.append(path)


def test_every_member_is_replaced_by_one_of_the_other_kind_and_back(start_ensemble):
    with start_ensemble("ours", "ours", "ours") as ensemble, kazoo_client(ensemble.hosts) as idle:
        lost = threading.Event()
        idle.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
        idle.start(SECONDS)
        idle.create("/idle", ephemeral=True)
        session_id = idle.client_id[0]
        with kazoo_client(ensemble.hosts) as client, Load(client) as load:
            changed_under_load = 0
            for kind in ("apache", "ours"):
                for sid in (ensemble.leader(), *ensemble.followers()):
                    before = len(load.acknowledged)
                    leads = sid == ensemble.leader()
                    kinds_behind = {ensemble.kinds[other] for other in ensemble.voters if other != sid}
                    with load.paused() if leads and "apache" in kinds_behind else nullcontext():
                        ensemble.stop(sid)
                    changed_under_load += leads and kinds_behind == {"ours"}
                    ensemble.become(sid, kind)
                    ensemble.start(sid)
                    ensemble.wait_for(lambda before=before: len(load.acknowledged) > before + 5, "writes go on")
                assert set(ensemble.kinds.values()) == {kind}
            assert changed_under_load
        ensemble.wait_synced()
        tree = ensemble.assert_same()
        missing = [path for path in load.acknowledged if path not in tree]
        assert not missing
        assert not load.unknown
        # It has lost its server once more, and waits a little between its attempts.
        ensemble.wait_for(lambda: idle.connected or lost.is_set(), "the idle client is back")
        assert idle.client_id[0] == session_id and not lost.is_set()
        assert idle.exists("/idle").ephemeralOwner == session_id
        idle.stop()
        ensemble.wait_synced()
        assert "/idle" not in ensemble.assert_same()
