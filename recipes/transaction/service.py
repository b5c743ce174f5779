"""The server side of a remote participant: an ASGI application that any ASGI server runs and any framework mounts.

    GET  /name                           the participant's name, and whether it serves 3PC
    GET  /branches, /waiting, /prepared  what is prepared; /waiting with protocol and age, /prepared with age and locks
    GET  /marks/{seconds}                branches that ended longer ago than that and left a mark; a sample of many
    POST /branches/{branch id}/{request} one of can_commit, prepare, pre_commit, commit, abort, forget

An answer names its branch, so that it cannot pass for another branch's answer. An exception of the participant becomes
the answer UNKNOWN. Source: the ASGI specification 3.0; RFC 9110 for the status codes, RFC 6750 for the token.
"""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from random import sample
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments
from recipes.transaction import asking
from recipes.transaction.branch import Answer, Reply
from recipes.transaction.participant import BranchId, ThreePhaseParticipant, TransactionParticipant, check_name

BRANCH_HEADER = "recipes-branch"
WHY_CHARACTERS = 500  # of an explanation that goes over the network
REQUESTS: dict[str, asking.Method] = {
    each: each for each in ("can_commit", "prepare", "pre_commit", "commit", "abort", "forget")
}
_BODY_BYTES = 1024  # limit of a request's body; requests need none
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_MOST_MARKS = 10_000  # in one answer: 1 MB

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Response(NamedTuple):
    status: int
    content: object
    header: tuple[bytes, bytes] | None = None


def branch_of(headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]) -> BranchId:
    """The branch that a request belongs to, by the header that `RemoteBranch.headers` gave it.

    headers: a mapping, as in most frameworks, or pairs, as in ASGI. Raises BadArguments if the header is missing, is
    repeated, or holds no branch's id.
    """
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    found = [_text(value) for name, value in pairs if _text(name).lower() == BRANCH_HEADER]
    branch = BranchId.parse(found[0]) if len(found) == 1 else None
    if branch is None:
        what = "missing" if not found else repr(found[0]) if len(found) == 1 else f"there {len(found)} times"
        raise BadArguments("", f"the header {BRANCH_HEADER} is {what}: expected one branch's id, {_ID}")
    return branch


def participant_app(
    participant: TransactionParticipant,
    *,
    name: str | None = None,
    token: str | None = None,
    limit_seconds: float = 60.0,
) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """An ASGI application through which remote coordinators reach a participant, each with a RemoteParticipant.

    name: the participant's name at its coordinators. Branches of another name are refused, for example when two names
    have one address. token: requests must bring `Authorization: Bearer TOKEN`; without a token everybody may ask.
    limit_seconds: for one request, after which its answer is UNKNOWN.

    If a server runs this application by itself, the participant is opened and closed with the server. If it is mounted
    into another application, that application opens and closes the participant. Raises BadArguments for an invalid
    name or an empty token.
    """
    if token is not None and (not isinstance(token, str) or not token):
        raise BadArguments("", "token: expected a text that is not empty, or None")
    return _App(participant, None if name is None else check_name(name), token, limit_seconds)


class _App:
    def __init__(
        self, participant: TransactionParticipant, name: str | None, token: str | None, limit_seconds: float
    ) -> None:
        self._participant = participant
        self._name = name
        self._allowed = None if token is None else f"Bearer {token}".encode()
        self._limit_seconds = limit_seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            response = await self._respond(scope, receive)
            body = json.dumps(response.content).encode() + b"\n"
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            if response.header is not None:
                headers.append(response.header)
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"].removeprefix("lifespan.")
            method = getattr(self._participant, {"startup": "open", "shutdown": "aclose"}[event], None)
            try:
                if method is not None:
                    await method()
            except Exception as error:
                await send({"type": f"lifespan.{event}.failed", "message": f"{type(error).__name__}: {error}"})
                return
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return

    async def _respond(self, scope: Message, receive: Receive) -> _Response:
        headers = dict(scope["headers"])
        if self._allowed is not None and not hmac.compare_digest(headers.get(b"authorization", b""), self._allowed):
            return _Response(401, _error("expected the token of this service"), (b"www-authenticate", b"Bearer"))
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root) if root else scope["path"]
        match path.strip("/").split("/"):
            case ["name" | "branches" | "waiting" | "prepared" as what]:
                method, answer = "GET", self._look(what)
            case ["marks", older] if _SECONDS.fullmatch(older):
                method, answer = "GET", self._look("marks", float(older))
            case ["branches", branch, request] if request in REQUESTS:
                method, answer = "POST", self._ask(branch, REQUESTS[request])
            case _:
                return _Response(404, _error(f"there is nothing at {path!r}"))
        if scope["method"] != method:
            answer.close()
            return _Response(405, _error(f"expected {method}"), (b"allow", method.encode()))
        if not await _is_small(headers, receive):
            answer.close()
            return _Response(413, _error(f"expected a body of at most {_BODY_BYTES} bytes"))
        return await answer

    async def _ask(self, text: str, request: asking.Method) -> _Response:
        branch = BranchId.parse(text)
        if branch is None:
            return _Response(400, _error(f"{text!r} is no branch's id: expected {_ID}"))
        if self._name not in (None, branch.participant):
            return _Response(421, _error(f"this is the participant {self._name!r}, and not {branch.participant!r}"))
        if hasattr(self._participant, request):
            reply = await asking.ask(self._participant, branch, request, self._limit_seconds)
        else:
            reply = Reply(Answer.UNKNOWN, f"{type(self._participant).__name__} has no {request}")
        why = shortened(reply.why)
        return _Response(200, {"branch": str(branch), "answer": reply.answer.name, "why": why})

    async def _look(self, what: str, *arguments: float) -> _Response:
        three_phase = isinstance(self._participant, ThreePhaseParticipant)
        if what == "name":
            return _Response(200, {"name": self._name, "three_phase": three_phase})
        method = getattr(self._participant, "recover" if what == "branches" else what, None)
        if method is None:
            return _Response(501, _error(f"{type(self._participant).__name__} has no {what}"))
        try:
            found = await method(*arguments)
            if what == "marks" and len(found) > _MOST_MARKS:
                found = sample(found, _MOST_MARKS)  # at random: marks that nobody drops must not hide others
            if what in ("branches", "marks"):
                found = [str(branch) for branch in found]
            elif what == "waiting":
                found = [(str(branch), protocol.value, seconds) for branch, protocol, seconds in found]
            else:
                found = [(each.id, each.ours and str(each.ours), each.age, each.locks) for each in found]
        except Exception as error:
            return _Response(500, _error(f"{type(error).__name__}: {error}"))
        return _Response(200, {what: found})


async def _is_small(headers: Mapping[bytes, bytes], receive: Receive) -> bool:
    """Read the body to its end, unless it is too long."""
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit() or int(announced) > _BODY_BYTES:
        return False
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size > _BODY_BYTES:
            return False
        if not message.get("more_body", False):
            return True


def shortened(text: str) -> str:
    """The text, cut after WHY_CHARACTERS."""
    return text if len(text) <= WHY_CHARACTERS else f"{text[:WHY_CHARACTERS]}..."


def _error(text: str) -> dict[str, str]:
    return {"error": shortened(text)}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


_ID = "recipes:FLEET:TRANSACTION:PARTICIPANT"
