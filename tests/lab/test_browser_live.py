"""A page of `recipes lab serve` in a browser: what is put into a run, where, and what comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from recipes.cli.lab_files import scenario_of
from recipes.lab.run import run
from recipes.lab.scenario import load, parse
from recipes.lab.steps import ACTIONS
from recipes.lab.trace import digest, loads
from tests.lab.chromium import MEDIA, Chromium, Page, at, choose

pytestmark = pytest.mark.thorough  # a browser


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a `recipes lab serve`."""
    process = subprocess.Popen([sys.executable, "-m", "recipes", "lab", "serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        yield address
        process.kill()


@pytest.fixture
def live(browser: Chromium, site: str) -> Iterator[Callable[[str], Page]]:
    """live(rest): a page of the server. At the end no page has asked for anything but runs, or complained."""
    pages: list[Page] = []

    def live(rest: str) -> Page:
        pages.append(browser.page())
        return pages[-1].open(site + rest)

    yield live
    for page in pages:
        page.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert {each.partition("?")[0] for each in page.requests} <= {site, f"{site}run"}
        refused = "the server responded with a status of 400 (Bad Request)"  # what a browser says by itself
        assert [each for each in page.complaints if refused not in each] == []
        page.close()


TREE = "[...document.querySelectorAll('#scenario li > button:first-child')].map((each) => each.textContent)"


def inject(page: Page, action: str, **fields: str) -> None:
    choose(page, "crash", action)
    for name, value in fields.items():
        page.run(f"""(() => {{
            const label = [...document.querySelectorAll("#scenario form label")].find((each) =>
                each.checkVisibility() && each.textContent.startsWith("{name} "));
            label.querySelector("select, input").value = {json.dumps(value)};
        }})()""")
    runs = len(page.run(TREE))
    page.click("Put in and run")
    page.wait(f"{TREE}.length === {runs + 1}")


def test_a_step_is_put_in_at_the_cursor_and_the_branch_is_compared_with_its_parent(live):
    page = live("?scenario=px-null&seed=3")
    assert "seed 3" in page.text("#facts")
    assert page.run("document.querySelector('form select').value") == "px-null"
    page.run("location.hash = '#at=12&view=scenario'")
    page.wait("!document.querySelector('#scenario').hidden")
    inject(page, "crash", site="a1")
    assert page.run(TREE) == ["px-null", "crash at 12"]
    text = page.run("document.querySelector('textarea').value")
    assert text.endswith('[[do]]\nwhen = { at_event = 12 }\nthen = "crash"\ntarget = "a1"\n')
    differs = int(page.run("document.querySelector('#scenario li li button:nth-of-type(2)').textContent").split()[-1])
    assert differs > 12
    page.click(f"differs from event {differs}")
    assert at(page) == differs
    page.click("Timeline")
    assert page.run("document.querySelectorAll('.marks .differs').length") == 1
    page.click("Scenario")
    inject(page, "note", text='a "note" with \\ and 中')
    page.click("px-null")
    inject(page, "isolate", site="a2")
    assert page.run(TREE) == ["px-null", "crash at 12", f"note at {differs}", f"isolate at {differs}"]
    page.click("delete crash at 12")
    assert page.run(TREE) == ["px-null", f"isolate at {differs}"]
    page.run("document.querySelector('textarea').value = 'nonsense'")
    page.click("Run the text")
    page.wait("!document.querySelector('#error').hidden")
    assert "no TOML" in page.text("#error")
    assert len(page.run(TREE)) == 2


FIELDS = {
    "call": {"site": "p1", "op": '["propose", "z"]'}, "cut": {"site": "a1", "to": "p1"},
    "expire": {"site": "p1", "timer": "x"}, "power": {"site": "p1", "unsynced": "lost"},
    "disk": {"site": "a2", "disk": "full"}, "clock": {"site": "p1", "by_ms": "-9"}, "loss": {"probability": "0.5"},
    "note": {"text": "here"}, "drop": {}, "hold": {}, "heal": {}, "release": {}, "duplicate": {}, "deliver": {},
    "delay": {"by_ms": "5"},
}  # fmt: skip
DIGEST = """[...document.querySelectorAll("#figures tr")]
    .find((row) => row.cells[0].textContent === "sha256 of the trace").cells[1].textContent"""


def test_every_action_is_a_branch_and_its_text_gives_the_same_run_elsewhere(live):
    page = live("?scenario=px-restart-remembers&seed=3")
    actions = page.run("[...document.querySelectorAll('#scenario form select')[0].options].map((each) => each.value)")
    assert set(actions) == ACTIONS
    digests = {}
    for action in [*actions, "crash", "wipe"]:
        page.run("location.hash = '#at=16&view=scenario'")
        page.wait("document.querySelector('#now').textContent.startsWith('Event 16 ')")
        inject(page, action, **FIELDS.get(action, {"site": "a1"}))
        text = page.run("document.querySelector('textarea').value")
        assert f'then = "{action}"' in text.rpartition("[[do]]")[2]
        digests[page.run(f"{TREE}.length - 1")] = page.run(DIGEST)
        assert page.run(DIGEST) == digest(run(parse("px-restart-remembers", text), seed=3).trace), action
        page.click("px-restart-remembers")
    assert len(digests) >= 20
    labels = page.run(TREE)
    page.click("delete pause at 16")
    page.click("delete call at 16")
    assert page.run(TREE) == [each for each in labels if each not in ("pause at 16", "call at 16")]
    page.click("isolate at 16")
    assert page.run(DIGEST) == digests[labels.index("isolate at 16")]


def test_a_link_opens_the_same_run_in_another_page(live, site):
    page = live("?scenario=px-restart-forgets&seed=5")
    page.run("location.hash = '#at=30&view=scenario'")
    page.wait("!document.querySelector('#scenario').hidden")
    for number in range(10):
        inject(page, "note", text=f"note {number}")
    page.click("Link")
    link = page.wait("document.querySelector('input[readonly]').value")
    assert len(link) <= 2000
    other = live(link.removeprefix(site))
    other.wait("document.querySelector('#now').textContent.startsWith('Event 30 ')")
    facts = "document.querySelector('#facts').textContent"
    assert other.run(facts) == page.run(facts)
    assert other.run(DIGEST) == digest(run(scenario_of(link)).trace)  # as `recipes lab run LINK` has it
    assert other.run("document.querySelector('textarea').value") == page.run("document.querySelector('textarea').value")
    for hostile_link in ("#s=AAAA", "#s=!", "#s=", f"#s={'A' * 50_000}"):
        other.run(f"location.hash = {json.dumps(hostile_link)}")
        other.wait("!document.querySelector('#error').hidden")
        assert other.run(facts) == page.run(facts)
        other.run("document.querySelector('#error').hidden = true")


def test_a_trace_saved_from_the_page_has_its_last_line_too(live):
    page = live("?scenario=px-null&seed=3")
    page.run("location.hash = '#at=12&view=scenario'")
    page.wait("!document.querySelector('#scenario').hidden")
    page.run("""
        URL.createObjectURL = (blob) => { blob.text().then((text) => { window.kept = text; }); return "#"; };
        HTMLAnchorElement.prototype.click = () => {};
    """)
    page.click("Save the trace")
    page.wait("window.kept !== undefined")
    trace = loads(page.run("window.kept"))
    whole = run(load("px-null"), seed=3).trace
    assert trace.end == whole.end
    assert digest(trace) == digest(whole)


@pytest.mark.parametrize("media", MEDIA)
def test_axe_finds_nothing_in_a_live_page_and_it_is_as_narrow(live, axe, media):
    page = live("?scenario=px-null")
    page.command("Emulation.setEmulatedMedia", features=MEDIA[media])
    page.run(axe + "; 0")
    page.click("Scenario")
    inject(page, "crash", site="a1")
    found = page.run("axe.run(document).then((result) => result.violations.map((each) => each.id))")
    assert found == []
    page.command("Emulation.setDeviceMetricsOverride", width=320, height=800, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth") <= 320
    page.click("Ring")
    assert page.run("document.documentElement.scrollWidth") <= 320
    assert page.run("axe.run(document).then((result) => result.violations.map((each) => each.id))") == []


def drag(page: Page, one: tuple[float, float], other: tuple[float, float]) -> None:
    """Draw a line across the ring, between two of its points."""
    corner = page.run("""(() => {
        document.querySelector(".ring").scrollIntoView();
        const box = document.querySelector(".ring").getBoundingClientRect();
        return [box.left, box.top, box.width / 480];
    })()""")
    for kind, (x, y), buttons in (("mousePressed", one, 1), ("mouseMoved", other, 1), ("mouseReleased", other, 0)):
        page.command(
            "Input.dispatchMouseEvent", type=kind, x=corner[0] + x * corner[2], y=corner[1] + y * corner[2],
            button="left", buttons=buttons, clickCount=1,
        )  # fmt: skip


STEPS = "document.querySelector('textarea').value.split('[[do]]').length"


def last_step(page: Page) -> str:
    text: str = page.run("document.querySelector('textarea').value")
    return text.rpartition("[[do]]\n")[2]


def test_a_line_across_the_ring_is_a_partition_at_the_cursor(live):
    page = live("?scenario=cmp-write&protocol=raft&servers=5#at=400&view=ring")
    page.wait("!document.querySelector('#ring').hidden && document.querySelector('.disc') !== null")
    plain = page.run(STEPS)
    drag(page, (100, 60), (420, 60))  # below s1, which is at the top, are all others
    page.wait(f"{STEPS} === {plain + 1}")
    assert last_step(page) == 'when = { at_event = 400 }\nthen = "isolate"\ntarget = ["s1"]\n'
    drag(page, (240, 20), (250, 20))  # no line, and no partition
    drag(page, (20, 5), (460, 5))  # all are on one side
    assert page.text("#error") == "A partition needs a site on each of its sides."
    page.run("[...document.querySelectorAll('#ring form input')].slice(1, 3).forEach((each) => each.click())")
    page.click("Cut off")
    page.wait(f"{STEPS} === {plain + 2}")
    assert 'target = ["s2","s3"]' in last_step(page)
    text = page.run("document.querySelector('textarea').value")
    assert page.run(DIGEST) == digest(run(parse("cmp-write", text), protocol="raft", sites={"server": 5}).trace)
    page.click("Heal all")
    page.wait(f"{STEPS} === {plain + 3}")
    assert 'then = "heal"' in last_step(page)


def test_what_is_on_its_way_is_delivered_dropped_held_or_repeated_where_it_is_seen(live):
    page = live("?scenario=px-null#at=16&view=ring")
    page.wait("!document.querySelector('#ring').hidden && document.querySelector('.disc') !== null")
    (send, *_) = page.run("[...document.querySelectorAll('#ring td button')].map((each) => each.ariaLabel)")
    number = int(send.split()[-1])
    for action, expected in (
        ("deliver", f'when = {{ at_event = 16 }}\nthen = "deliver"\nmessage = {number}\n'),
        ("drop", f'when = {{ at_event = {number} }}\nthen = "drop"\n'),
        ("hold", f'when = {{ at_event = {number} }}\nthen = "hold"\n'),
        ("duplicate", f'when = {{ at_event = {number} }}\nthen = "duplicate"\n'),
    ):
        page.click("Scenario")
        page.click("px-null")
        page.click("Ring")
        before = page.run(STEPS)
        page.click(f"{action} message {number}")
        page.wait(f"{STEPS} === {before + 1}")
        assert last_step(page) == expected
        text = page.run("document.querySelector('textarea').value")
        assert page.run(DIGEST) == digest(run(parse("px-null", text)).trace)
