"""A web server that a test runs, and what reaches it."""

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
