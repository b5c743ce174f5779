"""A participant that is a service elsewhere, over HTTP; its server side is `participant_app` in service.py.

A response counts only if it is an Answer for the branch that was asked about. Anything else counts as UNKNOWN: an error
text with status 200, a proxy's page, an unknown word.
"""

import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio

from recipes.core.errors import BadArguments, ParticipantError
from recipes.transaction.asking import ASK_SECONDS, Method
from recipes.transaction.branch import Answer, Reply
from recipes.transaction.opening import is_away
from recipes.transaction.participant import BranchId, Prepared, Waiting
from recipes.transaction.service import BRANCH_HEADER, shortened
from recipes.transaction.stages import CommitProtocol

log: logging.Logger = logging.getLogger("recipes.transaction")

_MOST_BYTES = 1 << 22  # of one response: a list of many branches is the longest
# What an operator can do about a status: asking again will not help.
_TO_DO = {
    401: "give RemoteParticipant the token of the service",
    403: "give RemoteParticipant a token that the service accepts",
    404: "correct the url: it ends where the service has mounted participant_app",
    421: "correct the url: it is that of another participant",
}


class RemoteBranch(NamedTuple):
    """What `tx.enlist` returns: the work is the application's own requests to the service.

    id: the branch. headers: for each of these requests; the service learns from them which branch it works for.
    """

    id: BranchId
    headers: Mapping[str, str]


class RemoteParticipant:
    """A service whose `participant_app` is at `url`.

    token: sent as `Authorization: Bearer TOKEN`. timeout: seconds for an answer, its connection included.
    ssl_context: for https, in place of the default one.

    Needs the extra `http`. Proxies of the environment are not used, redirects not followed. Raises BadArguments for an
    invalid url, ImportError without the extra. An answer that is late or no Answer counts as UNKNOWN, with the reason.
    A refusal, such as 401 for a wrong token, is also logged as an error, once, since asking again does not help.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = ASK_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ImportError("RemoteParticipant needs the extra `http`: pip install 'zab-recipes[http]'") from error
        self._url = _check_url(url)
        if not isinstance(timeout, int | float) or not 0 < timeout < 1e6:
            raise BadArguments("", f"timeout={timeout!r}: expected seconds, more than 0 and below 1000000")
        self._timeout = float(timeout)
        self._headers = {"accept": "application/json", "accept-encoding": "identity"}
        if token is not None:
            if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
                raise BadArguments(
                    "", "token: expected a text of printable ASCII characters that is not empty, or None"
                )
            self._headers["authorization"] = f"Bearer {token}"
            if url.startswith("http:") and not _is_local(url):
                log.warning("the token for %s is sent without encryption: use https", self._url)
        self._ssl_context = ssl_context
        self._refused: int | None = None  # the status that was logged last
        self._http = httpx
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<RemoteParticipant {self._url}>"

    async def open(self) -> None:
        """Check that the service is there.

        Raises ParticipantError if the service is away, something else answers, or the token is wrong.
        """
        found = await self._exchange("GET", "/name")
        if not isinstance(found, dict) or "three_phase" not in found:
            raise self._strange(200, found)

    async def aclose(self) -> None:
        """Close the connections. Raises nothing."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def begin(self, branch: BranchId) -> RemoteBranch:
        """The headers for the requests of the branch's work. Raises nothing, and sends nothing."""
        return RemoteBranch(branch, {BRANCH_HEADER: str(branch)})

    async def can_commit(self, branch: BranchId) -> Reply:
        """Ask the service. Raises nothing: see the class."""
        return await self._ask("can_commit", branch)

    async def prepare(self, branch: BranchId) -> Reply:
        """As `can_commit`; see there."""
        return await self._ask("prepare", branch)

    async def pre_commit(self, branch: BranchId) -> Reply:
        """As `can_commit`; see there."""
        return await self._ask("pre_commit", branch)

    async def commit(self, branch: BranchId) -> Reply:
        """As `can_commit`; see there."""
        return await self._ask("commit", branch)

    async def abort(self, branch: BranchId) -> Reply:
        """As `can_commit`; see there."""
        return await self._ask("abort", branch)

    async def forget(self, branch: BranchId) -> Reply:
        """As `can_commit`; see there."""
        return await self._ask("forget", branch)

    async def recover(self) -> Sequence[BranchId]:
        """The service's branches that await their outcome. Raises ParticipantError."""
        return await self._list("/branches", "branches")

    async def marks(self, older: float) -> Sequence[BranchId]:
        """The branches that ended more than `older` seconds ago and have left a mark there, at most 10,000 of them.

        An empty list if the service's participant drops its marks by itself. Raises ParticipantError.
        """
        try:
            return await self._list(f"/marks/{older:.3f}", "marks")
        except ParticipantError as error:
            if error.status != 501:
                raise
            return []

    async def waiting(self) -> Sequence[Waiting]:
        """The service's prepared branches, with protocol and age. Raises ParticipantError."""
        found = await self._exchange("GET", "/waiting")
        try:
            listed = [(BranchId.parse(each), CommitProtocol(how), float(age)) for each, how, age in found["waiting"]]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._strange(200, found) from None
        return [Waiting(branch, how, age) for branch, how, age in listed if branch is not None]

    async def prepared(self) -> Sequence[Prepared]:
        """The transactions that are prepared there, with age and locks if the service tells them.

        Raises ParticipantError.
        """
        try:
            found = await self._exchange("GET", "/prepared")
        except ParticipantError as error:
            if error.status != 501:
                raise
            return [Prepared(str(branch), branch, None, ()) for branch in await self.recover()]
        try:
            return [
                Prepared(str(id), ours and BranchId.parse(ours), age and float(age), tuple(map(str, locks)))
                for id, ours, age, locks in found["prepared"]
            ]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._strange(200, found) from None

    async def _list(self, path: str, key: str) -> list[BranchId]:
        found = await self._exchange("GET", path)
        if not isinstance(found, dict) or not isinstance(found.get(key), list):
            raise self._strange(200, found)
        return [branch for each in found[key] if (branch := BranchId.parse(str(each))) is not None]

    async def _ask(self, request: Method, branch: BranchId) -> Reply:
        try:
            found = await self._exchange("POST", f"/branches/{branch}/{request}")
            match found:
                case {"branch": str(whose)} if whose != str(branch):
                    raise ParticipantError(self._url, f"it answered for another transaction: {shortened(whose)}")
                case {"branch": str(), "answer": str(answer), **more} if answer in Answer.__members__:
                    self._refused = None
                    return Reply(Answer[answer], shortened(str(more.get("why", ""))))
            raise self._strange(200, found)
        except ParticipantError as error:
            self._tell_refused(branch.participant, error)
            return Reply(Answer.UNKNOWN, f"{error.path}: {error.message}")

    def _tell_refused(self, name: str, error: ParticipantError) -> None:
        """Log a refusal once: requests are repeated, and only an operator can help."""
        status = error.status
        if status is None or status < 400 or is_away(error) or status == self._refused:
            return
        self._refused = status
        log.error("the participant %s at %s refuses, its transactions wait: %s", name, self._url, error.message)

    async def _exchange(self, method: str, path: str) -> Any:
        """The decoded JSON of a response with status 200. Raises ParticipantError for everything else."""
        http, url = self._http, self._url + path
        client = self._client
        if client is None:
            verify = (self._ssl_context or True) if url.startswith("https:") else False
            client = self._client = http.AsyncClient(
                headers=self._headers, timeout=None, trust_env=False, verify=verify
            )
        body, size = bytearray(), 0
        try:
            with anyio.fail_after(self._timeout):
                async with client.stream(method, url) as response:
                    async for part in response.aiter_raw():
                        size += len(part)
                        if size <= _MOST_BYTES:  # the rest is read and dropped: httpx wants to see the end
                            body += part
        except TimeoutError:
            raise ParticipantError(self._url, f"no answer within {self._timeout:.3g} s") from None
        except (http.HTTPError, http.StreamError) as error:
            raise ParticipantError(self._url, f"{type(error).__name__}: {_words(error)}") from error
        if size > _MOST_BYTES:
            raise self._strange(response.status_code, f"more than {_MOST_BYTES} bytes")
        text = bytes(body[: 1 << 16] if response.status_code != 200 else body).decode(errors="replace")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise self._strange(response.status_code, text) from None
        if response.status_code != 200:
            raise self._strange(response.status_code, found.get("error", found) if isinstance(found, dict) else found)
        return found

    def _strange(self, status: int, what: object) -> ParticipantError:
        said = shortened(what if isinstance(what, str) else repr(what))
        words = [f"it answered {status}", said, _TO_DO.get(status, "")]
        error = ParticipantError(self._url, ": ".join(filter(None, words)))
        error.status = status
        return error


def _words(error: BaseException) -> str:
    """The error's text, else the text of its cause: under trio httpx does not repeat it."""
    while not str(error) and (before := error.__cause__ or error.__context__) is not None:
        error = before
    return shortened(str(error))


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if good and not (parts.query or parts.fragment or parts.username or parts.password):
            return url.rstrip("/")
    except (ValueError, TypeError, AttributeError):
        pass
    shown = f"...@{url.rpartition('@')[2]}" if isinstance(url, str) and "@" in url else url
    expected = "http:// or https:// with a host, and neither a query nor a password"
    raise BadArguments("", f"url={shown!r}: expected {expected}")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
