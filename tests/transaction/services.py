"""A web server that a test runs, and what reaches it."""

import json
import threading
from contextlib import asynccontextmanager

from recipes import RemoteParticipant
from tests.ports import free_port


class Service:
    """A web server in a thread of its own; `app` is what it runs, and may be replaced at any time."""

    def __init__(self):
        self.app = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = None
        self.asked = []

    async def __call__(self, scope, receive, send):
        self.asked.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send)

    def start(self, **options):
        import uvicorn

        config = uvicorn.Config(
            self,
            port=self.port,
            log_config=None,
            lifespan="off",
            ws="none",
            loop="asyncio",
            timeout_graceful_shutdown=1,
            **options,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            self.thread.join(0.01)

    def stop(self):
        if self.thread is not None:
            self.server.should_exit = True
            self.thread.join()
            self.thread = None


@asynccontextmanager
async def reached(url, **options):
    participant = RemoteParticipant(url, **options)
    try:
        yield participant
    finally:
        await participant.aclose()


async def raw(app, method, path, headers=(), body=b"", root=""):
    """One request to an application without a server: status, headers, and what the JSON says."""
    parts = [body[at : at + 600] for at in range(0, len(body), 600)] or [b""]
    sent = []

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "root_path": root}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"] or "null")
