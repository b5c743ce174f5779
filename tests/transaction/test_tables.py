"""The state machines of coordinator and participant: every pair of a state and an input."""

from itertools import product
from pathlib import Path

import pytest

from recipes.core.errors import InvariantBroken
from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Request
from recipes.transaction.stages import DECIDED, TABLES, CommitProtocol, Event, Stage, following

LAST = (Stage.SETTLED, Stage.IN_DOUBT)


@pytest.mark.parametrize(("protocol", "stage", "event"), list(product(CommitProtocol, Stage, Event)))
def test_each_stage_and_event(protocol, stage, event):
    table = TABLES[protocol]
    if (stage, event) not in table:
        with pytest.raises(InvariantBroken, match=f"{event.name} cannot happen in {stage.name}"):
            following(protocol, stage, event)
        return
    after = following(protocol, stage, event)
    assert stage not in LAST
    if stage in DECIDED:  # a decision is never left
        assert after is Stage.SETTLED
    if after is Stage.COMMITTING:
        assert stage in (Stage.DECIDING_COMMIT, Stage.DECIDING_ABORT)
        assert event is Event.FOUND_COMMIT or (stage, event) == (Stage.DECIDING_COMMIT, Event.WRITTEN)
    if after is Stage.DECIDING_COMMIT:
        assert (stage, event) == (Stage.PREPARING, Event.AGREED)


@pytest.mark.parametrize("protocol", CommitProtocol)
def test_every_stage_is_reached_and_comes_to_an_end(protocol):
    table = TABLES[protocol]
    reached = {Stage.WORKING}
    while more := {after for (stage, _), after in table.items() if stage in reached} - reached:
        reached |= more
    assert reached == set(Stage) - ({Stage.ASKING} if protocol is CommitProtocol.TWO_PHASE else set())
    ends = set(LAST)
    while more := {stage for (stage, _), after in table.items() if after in ends} - ends:
        ends |= more
    assert ends >= reached


@pytest.mark.parametrize(("state", "request_"), list(product(BranchState, Request)))
def test_each_state_of_a_branch_and_request(state, request_):
    after, deed, answer = STEPS[state, request_]
    if state is BranchState.COMMITTED:
        assert deed in (Deed.NOTHING, Deed.DROP)
        assert answer is (Answer.CONTRADICTION if request_ is Request.ABORT else Answer.COMMITTED)
    if state is BranchState.ABORTED:
        assert deed in (Deed.NOTHING, Deed.DROP)
        assert answer in (Answer.REFUSED, Answer.ABORTED, Answer.CONTRADICTION)
    if answer is Answer.COMMITTED:
        assert BranchState.COMMITTED in (state, after)
    if deed is Deed.KEEP:
        assert (state, request_) == (BranchState.PREPARED, Request.COMMIT)


@pytest.mark.parametrize("request_", [Request.PREPARE, Request.COMMIT, Request.ABORT])
def test_a_request_that_is_repeated_is_answered_as_before(request_):
    for state in BranchState:
        after, _, answer = STEPS[state, request_]
        again = STEPS[after, request_]
        assert (again.state, again.answer) == (after, answer)
        assert again.deed is Deed.NOTHING


def test_p29_a_prepare_behind_an_abort_is_refused_however_the_abort_came():
    for state in (BranchState.ABSENT, BranchState.PREPARED):
        after = STEPS[state, Request.ABORT].state
        assert STEPS[after, Request.PREPARE].answer is Answer.REFUSED


def diagram(first, steps):
    """steps: (state, event, next state); those between the same two states share an arrow."""
    arrows = {}
    for state, event, after in steps:
        if state != after:
            arrows.setdefault((state, after), {})[event] = None
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    return [*lines, *(f"    {a} --> {b} : {', '.join(events)}" for (a, b), events in arrows.items()), "```", ""]


def drawn_stages():
    """Of the coordinator."""
    steps, lines = [], ["| stage | what is done in it | event | next stage |", "|---|---|---|---|"]
    for stage in Stage:
        for event in Event:
            found = {protocol: TABLES[protocol].get((stage, event)) for protocol in CommitProtocol}
            for after in dict.fromkeys(each for each in found.values() if each is not None):
                which = [protocol.value for protocol, each in found.items() if each is after]
                only = "" if len(which) == 2 else f" ({which[0]})"
                steps.append((stage.name, event.name + only, after.name))
                lines.append(f"| {stage.name} | {stage.value} | {event.name}: {event.value}{only} | {after.name} |")
    return "\n".join([*diagram(Stage.WORKING.name, steps), *lines])


def drawn_branches():
    """Of a participant."""
    lines = ["| state | request | what is done | answer | next state |", "|---|---|---|---|---|"]
    for (state, request), (after, deed, answer) in STEPS.items():
        becomes = "" if after is state else after.name
        lines.append(f"| {state.name} | {request.name} | {deed.value} | {answer.name} | {becomes} |")
    steps = [(state.name, request.name, after.name) for (state, request), (after, *_) in STEPS.items()]
    return "\n".join([*diagram(BranchState.ABSENT.name, steps), *lines])


@pytest.mark.parametrize(("name", "drawn"), [("states", drawn_stages), ("branches", drawn_branches)])
def test_the_page_shows_the_tables(name, drawn):
    """Copy what this prints into the page when a table has changed."""
    page = (Path(__file__).parents[2] / "docs" / "transactions.md").read_text()
    shown = page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
    assert shown == drawn(), drawn()
