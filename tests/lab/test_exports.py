"""A trace for other tools, and the schema that each line of a trace fulfils."""

import csv
import json
import re
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec

import pytest

from recipes.cli import main
from recipes.lab.exports import EXPORTS, mermaid, shiviz, table
from recipes.lab.scenario import names
from recipes.lab.trace import KINDS, dumps

SCHEMA = json.loads((files("recipes.lab") / "static" / "trace.schema.json").read_text(encoding="utf-8"))
NAMES = [names()[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in names()[1:])]


def test_the_schema_names_all_kinds():
    assert set(SCHEMA["$defs"]["event"]["properties"]["k"]["enum"]) == KINDS


@pytest.fixture(scope="module")
def valid(need_tool):
    need_tool("the Python package jsonschema", find_spec("jsonschema") is not None)
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_each_trace_is_valid(valid, outcome, name):
    for line in dumps(outcome(name).trace).splitlines():
        valid.validate(json.loads(line))


def test_other_lines_are_not_valid(valid, outcome):
    header, *lines = map(json.loads, dumps(outcome("px-null").trace).splitlines())
    sent = next(line for line in lines if line["k"] == "send")
    wrong = [
        {**header, "version": "recipes-trace/2"}, {**header, "seed": "1"}, {**sent, "k": "sent"}, {**sent, "t": -1},
        {key: value for key, value in sent.items() if key != "role"}, {**sent, "fields": []}, {}, [], {"k": "end"},
        {**lines[-1], "sha256": "x"},
    ]  # fmt: skip
    assert not any(valid.is_valid(each) for each in wrong)


def test_mermaid_has_an_arrow_for_each_message_that_arrives_or_is_lost(outcome):
    trace = outcome("px-preempted-midway").trace
    lines = mermaid(trace).splitlines()
    ends = [event for event in trace.events if event["k"] in ("deliver", "lost")]
    assert lines[0] == "sequenceDiagram"
    assert sum("->>" in line or "-x" in line for line in lines) == len(ends)
    assert sum("-x" in line for line in lines) == sum(event["k"] == "lost" for event in ends)
    note = {"i": len(trace.events), "t": 10**6, "n": "", "k": "note", "text": "a; end\nparticipant <b>#"}
    last = mermaid(replace(trace, events=[*trace.events, note])).splitlines()[-1]
    assert last.endswith("a#59; end participant #60;b#62;#35;")


def test_the_clocks_of_a_shiviz_log_count_each_site_and_what_it_knows(outcome):
    trace = outcome("px-null").trace
    expression, delimiter, *rest = shiviz(trace).splitlines()
    assert delimiter == ""
    pattern = re.compile(expression.replace("(?<", "(?P<"))
    found = list(pattern.finditer("\n".join(rest)))
    assert len(found) == len(rest) // 2
    last: dict[str, dict[str, int]] = {}
    for each in found:
        host, clock = each["host"], json.loads(each["clock"])
        before = last.get(host, {})
        assert clock[host] == before.get(host, 0) + 1
        assert all(clock.get(site, 0) >= count for site, count in before.items())
        last[host] = clock
    assert any(len(clock) == len(trace.sites) for clock in last.values())


def test_csv_has_the_figures(outcome):
    trace = outcome("px-null").trace
    rows = dict(csv.reader(table(trace).splitlines()))
    assert rows["messages"] == str(trace.end["figures"]["messages"])
    assert rows["roles.promise"] == str(trace.end["figures"]["roles"]["promise"])


def test_the_commands_print_them(outcome, tmp_path, capsys):
    trace = outcome("px-null").trace
    file = tmp_path / "trace.jsonl"
    file.write_text(dumps(trace), encoding="utf-8")
    for to, made in EXPORTS.items():
        assert main(["lab", "export", str(file), "--to", to]) == 0
        assert capsys.readouterr().out == made(trace)
    assert main(["lab", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    with pytest.raises(SystemExit, match="2"):
        main(["lab", "export", str(file), "--to", "pdf"])
