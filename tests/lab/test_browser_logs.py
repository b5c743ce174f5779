"""The view Logs of the page of a run: what each site has in each place, as the disks of the trace have it."""

from __future__ import annotations

import pytest

from recipes.lab.checks.histories import Histories
from recipes.lab.trace import Trace
from tests.lab.chromium import MEDIA, Page

pytestmark = pytest.mark.thorough  # a browser

ROWS = """Object.fromEntries([...document.querySelectorAll("#logs tbody tr")].map((row) =>
    [row.cells[0].textContent, [...row.cells].slice(1).map((cell) => cell.textContent)]))"""


def go(page: Page, number: int) -> dict[str, list[str]]:
    page.run(f"location.hash = '#at={number}&view=logs'")
    page.wait(f"document.querySelector('#now').textContent.startsWith('Event {number} ')")
    rows: dict[str, list[str]] = page.run(ROWS)
    return rows


def label(zxid: int) -> str:
    return f"{zxid >> 32}.{zxid & 0xFFFFFFFF}"


def logs_at(trace: Trace, wanted: set[int]) -> dict[int, dict[str, list[str]]]:
    """At these events: the entries on each site's disk."""
    found = {}
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["i"] in wanted:
            found[event["i"]] = {
                site: [f"{label(zxid)}{log.entries[zxid]}" for zxid in log.order]
                for site, log in histories.logs.items()
            }
    return found


@pytest.mark.parametrize("name", ["raft-conflict-backoff", "zab-orphan-truncated", "raft-log-matching"])
def test_a_row_has_what_is_on_the_disk_in_the_order_of_the_log(opened, outcome, name):
    trace = outcome(name).trace
    wanted = set(range(0, len(trace.events), max(len(trace.events) // 15, 1))) | {len(trace.events) - 1}
    cuts = [event["i"] for event in trace.events if event["k"] == "write" and event["value"] is None]
    page = opened(name)
    for number, logs in logs_at(trace, wanted).items():
        rows = go(page, number)
        for site, entries in logs.items():
            cells = [each for each in rows.get(site, [])[3:] if each]
            on_disk = [each.partition(" ")[2] for each in cells if each[0] in "✓✕"]
            assert on_disk == entries, (number, site)
    assert cuts
    rows = go(page, cuts[0])
    assert any(cell.startswith("✕") for cells in rows.values() for cell in cells), "a deleted entry, until the sync"
    assert page.run("document.querySelectorAll('#logs td.ghost').length") >= 1
    rows = go(page, len(trace.events) - 1)
    site = next(iter(rows))
    committed, applied = rows[site][1:3]
    assert committed == applied
    assert rows[site][-1].startswith("✓●◆")
    assert rows[site][-1].split("◆ ")[1].startswith(committed)


def test_holes_and_what_is_chosen_are_marked(opened, outcome):
    trace = outcome("mp-hole").trace
    chosen = next(event["i"] for event in trace.events if event["k"] == "state" and event.get("chosen") == [2])
    page = opened("mp-hole")
    rows = go(page, chosen)
    site = trace.events[chosen]["n"]
    assert rows[site][3] in ("hole", "✓ 1.s1[1 [set x 1]]")
    assert rows[site][4] == "✓● 1.s1[2 [set x 2]]"
    assert page.run("[...document.querySelectorAll('#logs caption')].map((each) => each.textContent)") == ["accepted"]


def test_terms_differ_in_colour_and_in_words(opened, outcome):
    page = opened("raft-log-matching")
    go(page, len(outcome("raft-log-matching").trace.events) - 1)
    pairs = page.run("""[...document.querySelectorAll("#logs td[class*=tint]")].map((each) =>
        [each.className.match(/tint./)[0], each.textContent.split(" ")[1].split(".")[0]])""")
    assert len({tint for tint, _ in pairs}) == 4
    assert len({tuple(pair) for pair in pairs}) == len({term for _, term in pairs}), "each term has one colour"


@pytest.mark.parametrize("media", MEDIA)
def test_axe_finds_nothing(opened, outcome, axe, media):
    page = opened("raft-log-matching")
    page.command("Emulation.setEmulatedMedia", features=MEDIA[media])
    page.run(axe + "; 0")
    go(page, len(outcome("raft-log-matching").trace.events) // 2)
    assert page.run("axe.run(document).then((result) => result.violations.map((each) => each.id))") == []
