"""The load generator against our own server: that it counts what it says, and notices what is wrong."""

import socket
import subprocess

import pytest
from kazoo.client import KazooClient

from benchmarks.ensemble import running
from benchmarks.failover import ZooKeeperWriter
from benchmarks.load import Load, LoadGenerator

pytestmark = pytest.mark.needs("gcc")  # which builds the load generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return LoadGenerator(tmp_path_factory.mktemp("loadgen"))


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, generator):
    with running("ours", tmp_path_factory.mktemp("servers")) as ensemble:
        generator.first_write(ensemble)
        generator.fill(ensemble, 10)
        yield ensemble


@pytest.fixture
def znodes(ensemble):
    """How many children a znode has, by a client that is not ours."""
    client = KazooClient(f"127.0.0.1:{ensemble.ports[0]}")
    client.start()
    yield client.get_children
    client.stop()
    client.close()


@pytest.mark.parametrize("operation", ["get", "set", "mixed", "lock"])
def test_every_operation_is_answered(generator, ensemble, operation):
    answer = generator.run(ensemble, Load(operation, 4, 4, 10), 0.2, 0)
    assert answer["ops"] > 0
    assert answer["p50_us"] <= answer["p99_us"] <= answer["max_us"] + 1


def test_fill_leaves_as_many_as_it_says(znodes):
    assert len(znodes("/bench")) == 10


def test_create_and_lock_leave_only_their_parents(generator, ensemble, znodes):
    for operation in ("create", "lock"):
        generator.run(ensemble, Load(operation, 2, 2, 10), 0.2, 0)
    parents = [name for name in znodes("/") if name.startswith(("c", "lock"))]
    assert len(parents) >= 1 + 2 * 2
    assert all(znodes(f"/{name}") == [] for name in parents)


def test_reply_with_an_error_ends_the_run(generator, ensemble):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        generator.run(ensemble, Load("get", 1, 1, 100_000), 1, 0)  # most of these are not there
    assert "reply with an error (-101)" in failed.value.stderr


def test_fan_out_waits_for_every_watcher(generator, ensemble):
    assert generator.fan_out_ms(ensemble, 50, 0.2) > 0


def test_idle_samples_while_the_sessions_are_open(generator, ensemble):
    def connections() -> int:
        with socket.create_connection(("127.0.0.1", ensemble.ports[0])) as asking:
            asking.sendall(b"srvr")
            answer = asking.makefile().read()
        return int(answer.partition("Connections: ")[2].split()[0])

    open_then, open_at_the_end = generator.idle(ensemble, 20, 0.3, connections)
    assert open_then >= 20
    assert open_at_the_end >= 20


def test_writer_of_the_fail_over_keeps_its_session_when_it_moves(ensemble):
    writer = ZooKeeperWriter()
    writer.move_to(ensemble.ports[0])
    writer.write()
    session = writer._session
    writer.move_to(ensemble.ports[0])
    writer.write()
    assert writer._session == session
    writer.close()
    with pytest.raises(ConnectionError):
        writer.write()
