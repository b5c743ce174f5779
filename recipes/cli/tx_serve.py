"""`recipes tx serve`: a coordinator that begins no transactions, and ends those that others left."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import anyio

from recipes import Client, Coordinator, CoordinatorStats, ParticipantError
from recipes.cli.access import Access, WrongOption
from recipes.cli.hosts import split_address
from recipes.cli.terminal import complain
from recipes.core.errors import SessionError
from recipes.renewal import Renewal
from recipes.transaction.opening import in_words
from recipes.transaction.participant import TransactionParticipant

log: logging.Logger = logging.getLogger("recipes.transaction")


class _Reopened:
    """A participant in a later session: its errors are then logged, and do not stop the other participants."""

    def __init__(self, participant: TransactionParticipant) -> None:
        self._participant = participant

    def __getattr__(self, name: str) -> Any:
        return getattr(self._participant, name)

    async def open(self) -> None:
        """Open the participant. Raises ParticipantError, which means "away", in place of any other error."""
        if (opening := getattr(self._participant, "open", None)) is not None:
            try:
                await opening()
            except Exception as error:
                raise ParticipantError("", in_words(error)) from error


class _Serving:
    """The current coordinator, if there is one, for those that want its figures."""

    def __init__(self) -> None:
        self.coordinator: Coordinator | None = None

    def figures(self) -> str:
        """The figures in Prometheus' text format."""
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

            async def serve() -> None:
                nonlocal code
                if wrong := await _serve(client, path, name, participants, serving):
                    complain("recipes tx serve", wrong)
                    code = 1
                    group.cancel_scope.cancel()

            group.start_soon(serve)
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
) -> str:
    """Serve from session to session. Returns only if a participant cannot be opened at the beginning: its error."""
    renewal = Renewal(client, f"serving {path}", log)
    again = {each: _Reopened(participant) for each, participant in participants.items()}
    while True:
        try:
            async with Coordinator(client, path, participants=participants, name=name) as coordinator:
                participants = cast(Mapping[str, TransactionParticipant], again)  # by its __getattr__
                serving.coordinator = coordinator
                print(f"recipes tx serve: ready to end transactions of dead coordinators at {path}", flush=True)
                await client.outlive(client.session_id)
        except SessionError as error:
            await renewal.after(error)
        except Exception as error:  # a participant's own
            if not (whose := getattr(error, "__notes__", None)):
                raise
            return f"{', '.join(whose)}: {in_words(error)}"
        finally:
            serving.coordinator = None


@contextmanager
def _metrics(address: str, figures: Callable[[], str]) -> Iterator[None]:
    """An HTTP server for the figures, in threads of its own, until its block ends. Raises WrongOption."""

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
            pass  # no access log

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
