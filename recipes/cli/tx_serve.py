"""`recipes tx serve`: a coordinator that begins nothing, and ends what others left."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio

from recipes import Client, ConfigError, Coordinator, CoordinatorStats
from recipes.cli.access import Access, WrongOption
from recipes.cli.hosts import split_address
from recipes.cli.terminal import complain
from recipes.core.client.backoff import pauses
from recipes.core.errors import SessionError
from recipes.renewal import Renewal
from recipes.transaction.participant import TransactionParticipant

log: logging.Logger = logging.getLogger("recipes.transaction")


class _Opened:
    """A participant that is opened already, or is away: its requests are repeated until it is back."""

    def __init__(self, participant: TransactionParticipant) -> None:
        self._participant = participant

    def __getattr__(self, name: str) -> Any:
        if name == "open":
            raise AttributeError(name)
        return getattr(self._participant, name)


class _Serving:
    """The coordinator of now, if there is one, and who wants its figures."""

    def __init__(self) -> None:
        self.coordinator: Coordinator | None = None

    def figures(self) -> str:
        """For Prometheus."""
        coordinator = self.coordinator
        nothing = CoordinatorStats(0, 0, 0, 0, 0, 0.0, False, 0, 0)
        return (nothing if coordinator is None else coordinator.stats()).prometheus()


def serve_transactions(
    path: str,
    name: str | None,
    participants: Mapping[str, TransactionParticipant],
    session_timeout: float,
    metrics: str | None,
    access: Access,
) -> int:
    """See `recipes tx serve`."""
    logging.basicConfig(format="recipes tx serve: %(message)s", stream=sys.stderr, level=logging.INFO)
    logging.getLogger("recipes").setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    serving = _Serving()
    with ExitStack() as stack:
        if metrics is not None:
            stack.enter_context(_metrics(metrics, serving.figures))
        _, client = access.connect(session_timeout, renew=True)
        return anyio.run(_until_signal, client, path, name, participants, serving)


async def _until_signal(
    client: Client,
    path: str,
    name: str | None,
    participants: Mapping[str, TransactionParticipant],
    serving: _Serving,
) -> int:
    code = 0
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with client, anyio.create_task_group() as group:

            async def open_one(each: str, participant: TransactionParticipant) -> None:
                nonlocal code
                try:
                    await _open(client, each, participant)
                except ConfigError as error:
                    complain("recipes tx serve", f"{each}: {error}")
                    code = 1
                    group.cancel_scope.cancel()

            for each, participant in participants.items():
                group.start_soon(open_one, each, participant)
            group.start_soon(_serve, client, path, name, participants, serving)
            async for _ in signals:
                group.cancel_scope.cancel()
                break
    return code


async def _serve(
    client: Client,
    path: str,
    name: str | None,
    participants: Mapping[str, TransactionParticipant],
    serving: _Serving,
) -> None:
    """From session to session."""
    opened: dict[str, TransactionParticipant] = {each: _Opened(found) for each, found in participants.items()}
    renewal = Renewal(client, f"serving {path}", log)
    while True:
        try:
            async with Coordinator(client, path, participants=opened, name=name) as coordinator:
                serving.coordinator = coordinator
                print(f"recipes tx serve: ready to end what others leave at {path}", flush=True)
                await client.outlive(client.session_id)
        except SessionError as error:
            await renewal.after(error)
        finally:
            serving.coordinator = None


async def _open(client: Client, name: str, participant: TransactionParticipant) -> None:
    """Until it has answered. Raises ConfigError where its settings do not do."""
    opening = getattr(participant, "open", None)
    said = ""
    for pause in pauses(client.random, shortest=1.0, longest=30.0, least=0.5):
        try:
            if opening is not None:
                await opening()
        except ConfigError:
            raise
        except Exception as error:  # a driver's own
            if said != (said := f"{name}: {type(error).__name__}: {error}"):
                complain("recipes tx serve", said)
            await anyio.sleep(pause)
        else:
            return


@contextmanager
def _metrics(address: str, figures: Callable[[], str]) -> Iterator[None]:
    """A server in threads of its own, until its block ends. Raises WrongOption."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            body = (figures() if found else "look at /metrics\n").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass  # nobody asked

    try:
        server = ThreadingHTTPServer(split_address(address), Page)
    except (OSError, OverflowError) as error:
        raise WrongOption("--metrics", f"{address}: {getattr(error, 'strerror', None) or error}") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
