"""What `recipes lab serve` answers: pages of runs by GET, which changes nothing, and runs of a text by POST.

It keeps nothing between requests. A page of another site can read nothing: a request under another host name is
refused, and so is what such a page asks for, other than to be followed as a link.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from recipes.core.errors import BadArguments
from recipes.core.http_request import HttpRequest, is_of_other_site
from recipes.lab.casts import protocol_of
from recipes.lab.page import content, document
from recipes.lab.run import run
from recipes.lab.scenario import Scenario, load_all, parse, source
from recipes.lab.trace import with_commit

MOST_EVENTS = 20_000
BODY_LIMIT_BYTES = 128 * 1024
_FIRST = "px-null"
_OPTIONS = ("scenario", "seed", "protocol", "servers")
_PLAIN, _HTML, _JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"


class Answer(NamedTuple):
    """An answer. allow: the methods that would do."""

    status: int
    kind: str
    body: str
    allow: str = ""


def answer(request: HttpRequest, body: bytes, port: int, commit: str | None = None) -> Answer:
    """Answer a request to this port of 127.0.0.1. commit: of the program, where it is known: traces name it."""
    host = request.fields.get("host", "")
    if host.lower() not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        return _refusal(421, f"unknown host {host[:100]}: this is 127.0.0.1:{port}")
    if request.method not in ("GET", "HEAD", "POST"):
        return _refusal(405, "only GET, HEAD and POST are known here", "GET, HEAD, POST")
    is_link = request.method != "POST" and request.fields.get("sec-fetch-mode") == "navigate"
    if is_of_other_site(request.fields, host) and not is_link:
        return _refusal(403, "a page of another site may ask for nothing here")
    if request.path == "/" and request.method != "POST":
        return _page(dict(parse_qsl(request.query)), commit)
    if request.path == "/run":
        if request.method != "POST":
            return _refusal(405, "a run of a text is asked for by POST", "POST")
        if request.fields.get("content-type", "").partition(";")[0].strip() != _JSON:
            return _refusal(415, f"expected a body of the type {_JSON}")
        return _run(body, commit)
    return (
        _refusal(405, "a page is asked for by GET", "GET, HEAD")
        if request.path == "/"
        else _refusal(404, "there is nothing here")
    )


def _page(asked: Mapping[str, str], commit: str | None) -> Answer:
    """A page with the run of a scenario of the package; if it cannot be run, with the first one and the reason."""
    try:
        return Answer(200, _HTML, _shown(asked, "", commit))
    except BadArguments as error:
        return Answer(400, _HTML, _shown({}, error.message, commit))


def _shown(asked: Mapping[str, str], error: str, commit: str | None) -> str:
    if unknown := sorted(asked.keys() - set(_OPTIONS)):
        raise BadArguments("", f"{unknown[0][:60]}: expected {', '.join(_OPTIONS)}")
    name = asked.get("scenario") or _FIRST
    options = {
        "scenario": name,
        "seed": _number("seed", asked.get("seed")),
        "protocol": asked.get("protocol") or None,
        "servers": _number("servers", asked.get("servers")),
    }
    text = source(name)
    live = {
        "scenarios": [[each.id, each.title["en"]] for each in load_all()],
        "options": options,
        "text": text,
        "error": error,
    }
    return document(_content(parse(name, text), options, commit), live=live)


def _run(body: bytes, commit: str | None) -> Answer:
    """A run of the scenario in the body, as JSON for the page."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, dict) or not isinstance(asked.get("text"), str):
            return _refusal(400, "expected an object with text, a scenario in TOML")
        name = str(asked.get("name") or "mine")[:60]
        options = {each: asked.get(each) for each in _OPTIONS[1:]}
        for each, type_ in (("seed", int), ("protocol", str), ("servers", int)):
            if not isinstance(options[each], type_ | None):
                return _refusal(400, f"{each} = {options[each]!r}: expected {type_.__name__}")
        shown = _content(parse(name, asked["text"]), options, commit)
    except BadArguments as error:
        return _refusal(400, error.message)
    except (ValueError, RecursionError):
        return _refusal(400, "the body is no JSON, or the scenario has a number that is too large")
    except Exception as error:  # a text may have any value in any place
        return _refusal(
            400, f"the scenario has a value that does not fit in its place: {type(error).__name__}: {error}"
        )
    return Answer(200, _JSON, json.dumps(shown, separators=(",", ":")))


def _content(scenario: Scenario, options: Mapping[str, Any], commit: str | None) -> dict[str, Any]:
    protocol = protocol_of(options["protocol"] if options["protocol"] is not None else scenario.protocols[0])
    servers = options["servers"]
    sites = {} if servers is None else {protocol.parts[0].kind: servers}
    outcome = run(scenario, protocol=options["protocol"], seed=options["seed"], sites=sites, most_events=MOST_EVENTS)
    return content(with_commit(outcome.trace, commit), scenario)


def _number(name: str, text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise BadArguments("", f"{name} = {text[:60]!r}: expected a number")
    return int(text)


def _refusal(status: int, text: str, allow: str = "") -> Answer:
    return Answer(status, _PLAIN, f"{text}\n", allow)
