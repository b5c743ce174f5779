"""`recipes counter`."""

import json


def test_it_counts(run, hosts):
    def counter(*arguments):
        done = run("counter", *arguments, "--hosts", hosts)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert counter("/counters/builds") == "0\n"
    assert counter("/counters/builds", "--add", "5") == "5\n"
    assert json.loads(counter("/counters/builds", "--add", "-7", "--json")) == {"before": 5, "after": -2}
    assert json.loads(counter("/counters/builds", "--json")) == {"value": -2}


def test_what_is_wrong_is_said_in_one_line(run, hosts):
    assert run("shell", "--hosts", hosts, "create", "/text", "words").returncode == 0
    done = run("counter", "/text", "--add", "1", "--json", "--hosts", hosts)
    assert done.returncode == 1
    said = json.loads(done.stderr)
    assert (said["kind"], "/text" in said["error"], "words" in said["error"]) == ("MalformedValue", True, True)
    done = run("counter", "text", "--hosts", hosts)
    assert (done.returncode, "it does not start with /" in done.stderr) == (2, True)
