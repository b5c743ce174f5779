"""What commands print: nothing of a server's or of another client's can steer the terminal it is shown on."""

import json as json_text
import sys

# Of those that are not printable, these only begin a new line or move along in it.
_PLAIN = "\n\t"
_json = False


def escaped(text: str, keep: str = "") -> str:
    """`text` with each character that is not printable written out, as in \\x1b; those in `keep` stay."""
    return "".join(each if each.isprintable() or each in keep else _written_out(each) for each in text)


def shown(text: str) -> str:
    """Data for standard output: written out where that is a terminal; as it is in a file or a pipe."""
    return escaped(text, _PLAIN) if sys.stdout.isatty() else text


def say(json: bool, text: str, facts: object) -> None:
    """Print an answer: in words, or as one JSON value."""
    print(json_text.dumps(facts) if json else shown(text), flush=True)


def complain_in_json() -> None:
    """From now on `complain` prints JSON, as the command's answers are."""
    global _json
    _json = True


def complain(who: str, problem: object, **facts: object) -> None:
    """Print what is wrong to standard error, in one line: in words, or as a JSON object, which has `facts` too."""
    text = escaped(" ".join(str(problem).split()))
    print(json_text.dumps({"error": text, **facts}) if _json else f"{who}: {text}", file=sys.stderr, flush=True)


def _written_out(character: str) -> str:
    # A lone surrogate too: bytes of a command line that are no UTF-8.
    return character.encode("unicode_escape").decode("ascii")
