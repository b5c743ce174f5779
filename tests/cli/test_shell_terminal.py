"""`recipes shell` at a terminal: Ctrl-C, the end of input, and data that would steer the terminal."""

import subprocess
import sys
from secrets import token_hex

import pytest

RECIPES = (sys.executable, "-m", "recipes")
RED = "\x1b[31m"


@pytest.fixture
def prompt(terminal, hosts):
    at = terminal(*RECIPES, "shell", hosts)
    at.expect(f"[{hosts}] ")
    at.prompt = f"[{hosts}] "
    return at


def test_newcomer_11_ctrl_c_at_the_prompt_drops_the_line_and_nothing_else(prompt):
    prompt.type("create /no")
    prompt.expect("create /no")
    while True:
        prompt.type("\x03")
        try:
            prompt.expect(prompt.prompt, seconds=1.0)
            break
        except AssertionError:  # Python 3.11 forgets one that comes before it waits for the next key: press again
            continue
    prompt.type("ls /\n")
    prompt.expect("[zookeeper]")


def test_newcomer_11_ctrl_c_ends_a_watch_and_comes_back_to_the_prompt(prompt, run, hosts):
    prompt.type("watch -r /\n")
    prompt.expect("watch -r /")
    while "CREATED" not in prompt.seen:  # until it watches
        made = run("shell", hosts, "create", "-s", "/seen-")
        assert made.returncode == 0
        try:
            prompt.expect("CREATED /seen-", seconds=0.5)
            break
        except AssertionError:
            continue
    prompt.type("\x03")
    prompt.expect(prompt.prompt)
    prompt.type("ls /zookeeper\n")
    prompt.expect("[config, quota]" if "config" in run("shell", hosts, "ls", "/zookeeper").stdout else "quota")


@pytest.mark.parametrize("leave", ["exit\n", "quit\n", "\x04"])
def test_newcomer_11_exit_and_the_end_of_input_leave(prompt, leave):
    prompt.type(leave)
    assert prompt.process.wait(30) == 0


def test_newcomer_11_lines_can_be_edited_and_called_up_again(prompt):
    prompt.type("lss /\x1b[D\x1b[D\x7f\n")  # two to the left, and rub out
    prompt.expect("[zookeeper]")
    prompt.expect(prompt.prompt)
    prompt.type("\x1b[A\n")
    prompt.expect("[zookeeper]")


def test_f14_data_and_names_cannot_steer_a_terminal(terminal, run, hosts):
    name = "/n\u202eame"
    made = run("shell", hosts, "create", name, f"a{RED}\nb\rc\x9bd\te")
    assert made.returncode == 0, made.stderr
    seen = terminal(*RECIPES, "shell", hosts, "get", name).expect("e\r\n")
    assert seen == "a\\x1b[31m\r\nb\\rc\\x9bd\te\r\n"
    assert terminal(*RECIPES, "shell", hosts, "ls", "/").expect("]") == "[n\\u202eame, zookeeper]"
    assert "/no\\x1b[31m" in terminal(*RECIPES, "shell", hosts, "get", f"/no{RED}").expect("\n")


def test_f14_a_pipe_gets_data_as_they_are(run, hosts):
    assert run("shell", hosts, "create", "/raw", f"{RED}red").returncode == 0
    assert run("shell", hosts, "get", "/raw").stdout == f"{RED}red\n"


def test_f14_credentials_come_from_a_file_or_the_environment_and_are_never_shown(run, hosts, tmp_path):
    secret = tmp_path / "auth"
    secret.write_text("digest:me:secret\n\ndigest:you:secret\n")
    assert run("shell", "--auth-file", str(secret), hosts, "create", "/mine", "x", "auth::cdrwa").returncode == 0
    assert run("shell", hosts, "get", "/mine").returncode == 1
    assert run("shell", hosts, "get", "/mine", RECIPES_AUTH="digest:you:secret").stdout == "x\n"
    wrong = "secret-without-a-scheme"
    secret.write_text(f"digest:me:secret\n{wrong}\n")
    for done in (
        run("shell", "--auth-file", str(secret), hosts, "get", "/mine"),
        run("lock", "--hosts", hosts, "--auth-file", str(secret), "/a", "--", "true"),
        run("shell", hosts, "get", "/mine", RECIPES_AUTH=wrong),
        run("shell", "--auth", wrong, hosts, "get", "/mine"),
    ):
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "expected SCHEME:CREDENTIALS" in done.stderr
        assert "secret-" not in done.stderr
    missing = run("shell", "--auth-file", "no-such", hosts, "get", "/mine")
    assert (missing.returncode, missing.stderr) == (2, "recipes: --auth-file no-such: No such file or directory\n")


def test_f14_credentials_in_the_environment_are_not_in_the_list_of_processes(terminal, hosts):
    password = token_hex()  # a word that no other process of this machine has among its arguments
    program = ("sh", "-c", "echo in; sleep 100")
    at = terminal(*RECIPES, "lock", "--hosts", hosts, "/a", "--", *program, RECIPES_AUTH=f"digest:a:{password}")
    at.expect("in\r\n")
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "/a -- sh -c" in listed and password not in listed
