"""`recipes queue` and `recipes barrier`."""

import json
import re
import subprocess
import sys

import pytest


@pytest.fixture
def queue(run, hosts):
    """queue("put", "/jobs", "a"): the finished command."""
    return lambda command, *rest, **more: run("queue", command, *rest, "--hosts", hosts, **more)


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_items_come_out_in_order_and_are_gone_once_printed(queue):
    assert queue("put", "/jobs", "a", "b").stdout == "2 put\n"
    assert answer(queue("put", "/jobs", "--json", stdin="c\n\nlast, without an end")) == {"put": 3}
    assert queue("put", "/jobs", "urgent", "--priority", "1").returncode == 0
    assert queue("peek", "/jobs", "--count", "2").stdout == "urgent\na\n"
    told = answer(queue("receive", "/jobs", "--json"))
    assert {**told, "fence": 0} == {"data": "urgent", "key": "", "priority": 1, "attempt": 1, "fence": 0}
    done = queue("receive", "/jobs", "--count", "9", "--within", "0")
    assert (done.returncode, done.stdout) == (69, "a\nb\nc\n\nlast, without an end\n")
    counts = answer(queue("size", "/jobs", "--json"))
    assert counts == {"waiting": 0, "delayed": 0, "claimed": 0, "dead": 0, "age": 0.0}


@pytest.mark.thorough  # each command is an interpreter of its own
def test_a_key_is_put_once_and_a_delay_is_kept(queue):
    assert queue("put", "/jobs", "x", "--key", "k", "--delay", "600").stdout == "1 put\n"
    done = queue("put", "/jobs", "y", "--key", "k")
    assert done.returncode == 69
    assert re.fullmatch(r"0 put: an item of this key is there since 20\S+T\S+\n", done.stdout)
    assert json.loads(queue("put", "/jobs", "y", "--key", "k", "--json").stdout).keys() == {"put", "since"}
    assert queue("receive", "/jobs", "--within", "0").returncode == 69
    assert queue("size", "/jobs").stdout == "waiting 0\ndelayed 1\nclaimed 0\ndead 0\nage 0.0 s\n"
    assert answer(queue("purge", "/jobs", "--json")) == {"dropped": 1}
    done = queue("put", "/jobs", "y", "z", "--key", "k")
    assert (done.returncode, done.stderr) == (2, "recipes queue: --key k: expected one item, not 2\n")


@pytest.mark.thorough  # each command is an interpreter of its own
def test_bytes_that_are_no_text_come_out_as_they_went_in(queue):
    queue("put", "/jobs", b"\xff\x00".rstrip(b"\x00"))
    assert answer(queue("peek", "/jobs", "--json")) == {"base64": "/w=="}


def test_an_item_that_nobody_reads_goes_back(queue, hosts):
    queue("put", "/jobs", "a")
    command = [sys.executable, "-m", "recipes", "queue", "receive", "/jobs", "--hosts", hosts]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.close()
    assert reader.wait(60) == 141
    reader.stderr.close()
    assert queue("receive", "/jobs", "--within", "60").stdout == "a\n"


@pytest.mark.thorough  # each command is an interpreter of its own
def test_dead_letters_are_shown_and_put_back(queue, hosts):
    program = (
        "import anyio, recipes\n"
        "async def main():\n"
        f"    async with recipes.connect({hosts!r}) as client:\n"
        "        queue = recipes.Queue(client, '/jobs', max_deliveries=1)\n"
        "        async with queue.receive():\n"
        "            raise ValueError('no\\tsuch\\nthing')\n"
        "anyio.run(main)\n"
    )
    queue("put", "/jobs", "a")
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ValueError" in failed.stderr
    assert queue("dead", "/jobs").stdout == "1\tValueError: no such thing\ta\n"
    told = answer(queue("dead", "/jobs", "--json"))
    assert told == {"data": "a", "deliveries": 1, "reason": "ValueError: no\tsuch\nthing"}
    assert queue("redrive", "/jobs").stdout == "1 put back\n"
    assert queue("receive", "/jobs").stdout == "a\n"


def test_a_wrong_number_is_named(queue):
    done = queue("put", "/jobs", "a", "--priority", "1000")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "1000" in done.stderr and "999" in done.stderr


def test_a_barrier_holds_programs_up(run, hosts):
    def barrier(command, *rest):
        return run("barrier", command, "/gate", *rest, "--hosts", hosts)

    assert barrier("wait").stdout == "open\n"
    assert [barrier("create").stdout, barrier("create").stdout] == ["closed\n", "was closed already\n"]
    done = barrier("wait", "--within", "0.1", "--json")
    assert (done.returncode, done.stdout) == (69, '{"closed": true}\n')
    command = [sys.executable, "-m", "recipes", "barrier", "wait", "/gate", "--hosts", hosts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiter:
        assert json.loads(barrier("remove", "--json").stdout) == {"closed": False, "changed": True}
        assert waiter.communicate(timeout=60) == ("open\n", None)
        assert waiter.returncode == 0
