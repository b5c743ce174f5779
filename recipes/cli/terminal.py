"""Output of commands. Text from a server or another client is escaped, so that it cannot control the terminal."""

import json as json_text
import sys

# Unprintable characters that are harmless: they only begin a new line or move along in it.
_PLAIN = "\n\t"
_json = False


def escaped(text: str, keep: str = "") -> str:
    """`text` with each unprintable character escaped, such as \\x1b; those in `keep` stay."""
    return "".join(each if each.isprintable() or each in keep else _written_out(each) for each in text)


def shown(text: str) -> str:
    """Data for standard output: escaped on a terminal, unchanged in a file or a pipe."""
    return escaped(text, _PLAIN) if sys.stdout.isatty() else text


def say(json: bool, text: str, facts: object) -> None:
    """Print an answer: in words, or as one JSON value."""
    print(json_text.dumps(facts) if json else shown(text), flush=True)


def complain_in_json(json: bool) -> None:
    """Whether `complain` prints JSON from now on, like the answers of the command."""
    global _json
    _json = json


def complain(who: str, problem: object, **facts: object) -> None:
    """Print a problem to standard error, in one line: in words, or as a JSON object that includes `facts`."""
    text = escaped(" ".join(str(problem).split()))
    print(json_text.dumps({"error": text, **facts}) if _json else f"{who}: {text}", file=sys.stderr, flush=True)


def _written_out(character: str) -> str:
    # This also escapes lone surrogates: bytes of a command line that are no UTF-8.
    return character.encode("unicode_escape").decode("ascii")
