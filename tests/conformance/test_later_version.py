"""ZooKeeper 3.9.5 leads two servers of ours through every kind of write, and follows one.

Its jars are in PyPI's pyspark 4.3.0 (456 MB): pip download --no-deps pyspark==4.3.0, unpack deps/jars, and let
ZOOKEEPER_39_JARS name that directory. On Debian there is 3.8 only.
"""

import os

import pytest

from recipes.core.disk.txnlog import LogFile
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int, pack_long, write_buffer
from recipes.core.jute.records import write_acl
from recipes.core.jute.txns import decode_txn
from tests import servers
from tests.ensembles import EnsembleProcesses

JARS = "ZOOKEEPER_39_JARS"
OPEN = ((31, b"world", b"anyone"),)


def create(path: bytes, flags: int = 0, *ttl_ms: int) -> bytes:
    return (
        write_buffer(path) + write_buffer(b"x") + write_acl(OPEN) + pack_int(flags) + b"".join(map(pack_long, ttl_ms))
    )


def versioned(path: bytes, *data: bytes) -> bytes:
    return write_buffer(path) + b"".join(map(write_buffer, data)) + pack_int(-1)


def write_everything(client, at: bytes, part: int = op.CREATE2) -> None:
    """part: the type that the leader gives to a create2 inside of a multi."""
    for kind, body in (
        (op.CREATE2, create(at)),
        (op.CREATE, create(at + b"/a")),
        (op.CREATE_TTL, create(at + b"/t", 5, 100_000)),
        (op.CREATE_CONTAINER, create(at + b"/c", 4)),
        (op.CREATE2, create(at + b"/e", 1)),
        (op.SET_ACL, write_buffer(at) + write_acl(OPEN) + pack_int(-1)),
        (op.SET_DATA, versioned(at, b"y")),
    ):
        assert client.call(kind, body)[0] == 0
    parts = [
        (op.CREATE2, create(at + b"/m2-", 2)),
        (op.CREATE, create(at + b"/m1")),
        (op.CREATE_TTL, create(at + b"/mt", 5, 90_000)),
        (op.CREATE_CONTAINER, create(at + b"/mc", 4)),
        (op.SET_DATA, versioned(at, b"z")),
        (op.CHECK, write_buffer(at) + pack_int(2)),
        (op.DELETE, versioned(at + b"/a")),
    ]
    err, reply = client.call(op.MULTI, rq.encode_multi(parts))
    assert err == 0 and reply.startswith(pack_int(part))
    failing = [(op.CREATE2, create(at + b"/q")), (op.DELETE, versioned(b"/none"))]
    assert client.call(op.MULTI, rq.encode_multi(failing))[1].startswith(pack_int(op.ERROR))
    client.close_session()


def parts_logged(ensemble: EnsembleProcesses, sid: int) -> set[int]:
    found = set()
    for path in sorted((ensemble.servers[sid].data_dir / "version-2").glob("log.*")):
        for payload in LogFile(path.name, path.read_bytes()):
            _, _, _, _, kind, record = decode_txn(payload)[0]
            if kind == op.MULTI:
                found |= {part for part, _ in record}
    return found


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.skipif(JARS not in os.environ, reason=f"{JARS} names no directory with ZooKeeper 3.9")
def test_interop_1_a_later_version_leads_ours_and_follows(tmp_path, monkeypatch, wire):
    monkeypatch.setattr(servers, "APACHE_CLASS_PATH", f"{os.environ[JARS]}/*")
    with EnsembleProcesses(tmp_path, "apache", "ours", "ours").start() as ensemble:
        ensemble.make_leader(1)
        assert ensemble.figures(1)["Zookeeper version"].startswith("3.9")
        for sid in (1, 2):
            write_everything(wire(ensemble.port(sid)), b"/s%d" % sid)
        ensemble.wait_synced()
        tree = ensemble.assert_same()
        assert {"/s1/m2-0000000004", "/s2/m2-0000000004", "/s2/mt"} <= tree.keys()
        assert op.CREATE2 in parts_logged(ensemble, 2)
        ensemble.restart(2)  # from a log of these txns
        ensemble.wait_synced()
        assert ensemble.assert_same() == tree
        ensemble.make_leader(3)
        write_everything(wire(ensemble.port(1)), b"/s3", op.CREATE)
        ensemble.wait_synced()
        tree = ensemble.assert_same()
        ensemble.swap(1, "ours")  # on the directory of 3.9
        ensemble.wait_synced()
        assert ensemble.assert_same() == tree
