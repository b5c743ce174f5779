"""`recipes lab serve`: what it answers, to whom, and that a step at an event changes nothing before that event."""

import contextlib
import json

import anyio
import pytest

from recipes.core.errors import BadArguments
from recipes.core.http_request import read_head
from recipes.lab.answers import Answer, answer
from recipes.lab.run import run
from recipes.lab.scenario import load, parse, source
from recipes.lab.serving import serve

PORT = 8123
JSON = {"Content-Type": "application/json"}


def asked(target: str, body: str = "", method: str = "", **fields: str) -> Answer:
    fields = {"Host": f"127.0.0.1:{PORT}"} | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [
        f"{method or ('POST' if body else 'GET')} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return answer(read_head("\r\n".join([*lines, "", ""]).encode()), body.encode(), PORT)


def ran(text: str, **options: object) -> Answer:
    return asked("/run", json.dumps({"name": "mine", "text": text, **options}), Content_Type="application/json")


def test_pages_and_runs_name_the_commit_of_the_program_so_that_what_they_save_does():
    page = answer(read_head(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n".encode()), b"", PORT, "abc1234")
    assert '"commit":"abc1234"' in page.body
    head = f"POST /run HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Type: application/json\r\n\r\n".encode()
    found = answer(read_head(head), json.dumps({"text": source("px-null")}).encode(), PORT, "abc1234")
    assert json.loads(found.body)["header"]["commit"] == "abc1234"
    assert "commit" not in json.loads(ran(source("px-null")).body)["header"]


def test_a_page_is_answered_for_each_choice():
    found = asked("/?scenario=px-null&seed=7&protocol=&servers=5")
    assert (found.status, found.kind) == (200, "text/html; charset=utf-8")
    assert '"seed":7' in found.body
    assert '"a5":"acceptor"' in found.body
    assert "connect-src 'self'" in found.body
    for wrong, said in (
        ("scenario=no-such", "no scenario is called 'no-such'"),
        ("scenario=../x", "no scenario is called"),
        ("seed=many", "seed = 'many': expected a number"),
        ("servers=1000", "acceptor = 1000"),
        ("protocol=raft2", "raft2"),
        ("<script>=1", "expected scenario, seed"),
    ):
        found = asked(f"/?{wrong}")
        assert (
            found.status,
            said in json.loads('"' + found.body.partition('"error":"')[2].partition('"}')[0] + '"'),
        ) == (400, True)
        assert "<script>=" not in found.body


def test_another_host_and_another_site_are_refused():
    assert asked("/").status == 200
    for host in ("example.org", f"example.org:{PORT}", "127.0.0.1", "127.0.0.1:1", "[::1]:8123", ""):
        assert asked("/", Host=host).status == 421, host
    assert asked("/", Host=f"LOCALHOST:{PORT}").status == 200
    body = json.dumps({"text": source("px-null")})
    own = f"http://127.0.0.1:{PORT}"
    assert asked("/run", body, Origin=own, Content_Type="application/json").status == 200
    for fields in (
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1"},
    ):
        assert asked("/run", body, Content_Type="application/json", **fields).status == 403
        assert asked("/", **fields).status == 403
    # A link from elsewhere opens the page; whoever wrote it cannot read it.
    assert asked("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    assert asked("/run", body, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 403
    assert asked("/run", body, Content_Type="text/plain").status == 415


def test_what_is_not_there_is_refused():
    assert asked("/nothing").status == 404
    assert (asked("/run").status, asked("/run").allow) == (405, "POST")
    assert asked("/", "x").status == 405
    assert asked("/", method="DELETE").allow == "GET, HEAD, POST"


def test_a_text_is_run_or_refused_in_a_sentence():
    shown = json.loads(ran(source("px-duel"), seed=3).body)
    assert (shown["header"]["seed"], shown["header"]["scenario"]) == (3, "mine")
    good = source("px-null")
    for text in (
        "nonsense", 'protocol = "pax"', good.replace('"propose"', '"shout"'),
        good.replace("protocol = ", "seed = 'x'\nprotocol = "),
        good + "\n[sites]\nacceptor = 'three'\n", good.replace("protocol = ", "sites = 3\nprotocol = "),
        good + "\n[run]\nlimit_ms = 'long'\n", good + '\n[[do]]\nwhen = { at_event = -1 }\nthen = "heal"\n',
        good + '\n[[do]]\nwhen = { at_event = "x" }\nthen = "heal"\n', "inherits = 3", "inherits = '../../x'",
        "a = " + "[" * 5000,
    ):  # fmt: skip
        found = ran(text)
        assert (found.status, found.body.count("\n")) == (400, 1), text
    for body in ("[]", "{", '{"text": 3}', json.dumps({"text": good, "seed": "x"}), "[" * 100_000):
        assert asked("/run", body, Content_Type="application/json").status == 400


def test_a_run_without_end_is_stopped():
    found = run(load("px-duel"), most_events=1000)
    assert (found.code, 1000 <= len(found.trace.events) < 1100) == (3, True)
    assert found.waits_for == "its end: it was stopped after 1000 events"


STEPS = {
    'then = "crash"\ntarget = "a1"': "crash",
    'then = "power"\ntarget = "p1"\nunsynced = "lost"': "power",
    'then = "pause"\ntarget = "a2"': "pause",
    'then = "isolate"\ntarget = "a3"': "fault",
    'then = "note"\ntext = "here"': "note",
    'then = "call"\ntarget = "p1"\nop = ["propose", "z"]': "call",
    'then = "disk"\ntarget = "a1"\ndisk = "slow"': "fault",
    'then = "disk"\ntarget = "a2"\ndisk = "full"': "fault",
    'then = "clock"\ntarget = "p1"\nby_ms = -5': "fault",
    'then = "expire"\ntarget = "p1"\ntimer = "no-such"': None,
}


@pytest.mark.parametrize("name", ["px-null", "px-restart-remembers"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_at_an_event_changes_nothing_before_it(name, step):
    plain = run(load(name)).trace.events
    for at in range(0, len(plain) - 5, 9):
        found = run(parse(name, f"{source(name)}\n[[do]]\nwhen = {{ at_event = {at} }}\n{step}\n")).trace.events
        assert found[: at + 1] == plain[: at + 1]
        kinds = [event["k"] for event in found[at:]]
        assert STEPS[step] is None or STEPS[step] in kinds


def test_a_message_is_dropped_or_held_by_its_number():
    plain = run(load("px-null")).trace.events
    sent = next(event["i"] for event in plain if event["k"] == "send")
    text = source("px-null") + f"\n[[do]]\nwhen = {{ at_event = {sent} }}\n"
    dropped = run(parse("px-null", text + 'then = "drop"\n')).trace.events
    assert [event["why"] for event in dropped if event["k"] == "lost" and event["id"] == sent] == ["dropped"]
    held = run(parse("px-null", text + 'then = "hold"\n')).trace.events
    assert not [event for event in held if event["k"] in ("deliver", "lost") and event["id"] == sent]


def test_a_step_whose_event_does_not_come_is_told():
    found = run(parse("px-null", source("px-null") + '\n[[do]]\nwhen = { at_event = 5000 }\nthen = "heal"\n'))
    assert (found.code, found.waits_for) == (3, "event 5000, for the step heal")
    with pytest.raises(BadArguments, match="at_event = 'x'"):
        parse("x", source("px-null") + '\n[[do]]\nwhen = { at_event = "x" }\nthen = "heal"\n')


@pytest.mark.anyio
async def test_the_port_answers_one_request_and_refuses_what_is_too_long(anyio_backend):
    async with anyio.create_task_group() as group:
        addresses: list[str] = []
        told = anyio.Event()

        def tell(address: str) -> None:
            addresses.append(address)
            told.set()

        group.start_soon(serve, 0, tell)
        with anyio.fail_after(60):
            await told.wait()
            port = int(addresses[0].rstrip("/").rpartition(":")[2])
            head = f"Host: localhost:{port}\r\nContent-Type: application/json\r\n"
            body = json.dumps({"text": source("px-null")})
            for request, status in (
                (f"GET / HTTP/1.1\r\n{head}\r\n", 200),
                (f"POST /run HTTP/1.1\r\n{head}Content-Length: {len(body.encode())}\r\n\r\n{body}", 200),
                (f"POST /run HTTP/1.1\r\n{head}Content-Length: 999999999\r\n\r\n", 413),
                (f"POST /run HTTP/1.1\r\n{head}Content-Length: -1\r\n\r\n", 413),
                (f"GET / HTTP/1.1\r\nX: {'x' * 20_000}", 431),
                ("\r\n\r\n", 421),
                ("\x00\xff\r\n\r\n", 421),
            ):
                found = await exchanged(port, request.encode())
                assert found.startswith(f"HTTP/1.1 {status} ".encode())
                assert b"\r\nX-Content-Type-Options: nosniff\r\n" in found
            whole = await exchanged(port, f"GET / HTTP/1.1\r\n{head}\r\n".encode())
            only_head = await exchanged(port, f"HEAD / HTTP/1.1\r\n{head}\r\n".encode())
            assert only_head == whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            async with await anyio.connect_tcp("127.0.0.1", port) as gone:
                await gone.send(b"POST /run HTTP/1.1\r\nContent-Length: 50\r\n\r\nhalf")
            assert (await exchanged(port, f"GET / HTTP/1.1\r\n{head}\r\n".encode())) == whole
        group.cancel_scope.cancel()


async def exchanged(port: int, request: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        received = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                received += await stream.receive()
        return received
