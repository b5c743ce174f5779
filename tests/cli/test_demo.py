"""`recipes demo`: the whole story, and it ends by itself."""

import json


def test_tells_of_taking_handing_over_and_losing(run):
    done = run("demo", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    taken = [event["fence"] for event in events if event["what"] == "lock taken"]
    led = [event["fence"] for event in events if event["what"] == "leads"]
    for fences in (taken, led):
        assert len(fences) == 3
        assert fences == sorted(set(fences))
    told = [event["what"].partition(":")[0] for event in events]
    assert told.count("LOST") == 2
    assert told.count("lock handed over") == 2
    assert told.count("resigned") == 2
    for event in events:
        if event["what"].startswith("LOST"):
            assert (event["who"], "is killed: its session ends") in [(other["who"], other["what"]) for other in events]


def test_in_words(run):
    done = run("demo")
    assert done.returncode == 0, done.stderr
    for words in ("lock taken", "lock handed over", "LOST", "leads"):
        assert words in done.stdout
