"""`recipes demo`: the whole story, and it ends by itself."""

import json


def test_newcomer_26_tells_of_taking_releasing_and_losing_and_why_two_hold(run):
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
    assert told.count("lock released") == 2
    assert told.count("resigned") == 2
    killed = [event["who"] for event in events if event["what"].startswith("is killed: its session ends")]
    assert killed == [event["who"] for event in events if event["what"].startswith("LOST")]
    assert told.count("until " + killed[0] + " hears of it, the next one may have taken the lock already") == 1


def test_in_words(run):
    done = run("demo")
    assert done.returncode == 0, done.stderr
    for words in ("lock taken", "lock released", "LOST", "leads"):
        assert words in done.stdout
