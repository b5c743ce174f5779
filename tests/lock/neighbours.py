"""Locks of kazoo and Curator, the real ones, with one way to be asked: `acquire(seconds)`, `release()`."""

import itertools
import queue
import shutil
import subprocess
import threading
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout

JARS = Path("/usr/share/java")
JAVA = Path(__file__).parent / "java" / "LockNeighbour.java"
_SECONDS = 60


class Curator:
    """A process of Java that has Curator's locks."""

    def __init__(self, directory):
        subprocess.run(["javac", "-cp", f"{JARS}/*", "-d", directory, JAVA], check=True, capture_output=True)
        path = f"{directory}:{JARS}/slf4j-nop.jar:{JARS}/*"
        self._process = subprocess.Popen(
            ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp", path, "LockNeighbour"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers = {}
        self._numbers = itertools.count()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self._process.stdout:
            name, _, answer = line.rstrip("\n").partition(" ")
            self.answers(name).put(answer)

    def answers(self, name):
        return self._answers.setdefault(name, queue.Queue())

    def ask(self, name, *words):
        """Tell it, and return its answer. Different names may be asked at the same time."""
        self._process.stdin.write(" ".join([name, *map(str, words)]) + "\n")
        self._process.stdin.flush()
        return self.answers(name).get(timeout=_SECONDS)

    def open(self, hosts, kind, path, limit=1):
        return CuratorsLock(self, f"n{next(self._numbers)}", hosts, kind, path, limit)

    def close(self):
        self._process.stdin.close()
        self._process.wait(_SECONDS)
        self._process.stdout.close()


class CuratorsLock:
    def __init__(self, curator, name, hosts, kind, path, limit):
        self._curator, self.name, self._hosts = curator, name, hosts
        assert curator.ask(name, "open", hosts, kind, path, limit) == "done"

    def acquire(self, seconds=_SECONDS):
        answer = self._curator.ask(self.name, "acquire", round(seconds * 1000))
        assert answer in ("yes", "no"), answer
        return answer == "yes"

    def release(self):
        assert self._curator.ask(self.name, "release") == "done"

    def leader(self):
        return self._curator.ask(self.name, "leader")

    def revoke(self, path):
        assert self._curator.ask(self.name, "revoke", self._hosts, path) == "done"

    def wait_until_asked(self):
        assert self._curator.answers(f"{self.name}-asked").get(timeout=_SECONDS) == "revoked"


class Kazoo:
    """Clients of kazoo."""

    def __init__(self):
        self._clients = {}

    def client(self, hosts):
        if hosts not in self._clients:
            self._clients[hosts] = client = KazooClient(hosts)
            client.start()
        return self._clients[hosts]

    def open(self, hosts, kind, path, limit=1):
        client = self.client(hosts)
        if kind == "semaphore":
            return KazoosLock(client.Semaphore(path, "kazoo", max_leases=limit))
        name = {"lock": "Lock", "read": "ReadLock", "write": "WriteLock", "lead": "Lock"}[kind]
        return KazoosLock(getattr(client, name)(path, "kazoo"))

    def close(self):
        for client in self._clients.values():
            client.stop()
            client.close()


class KazoosLock:
    def __init__(self, lock):
        self._lock = lock

    def acquire(self, seconds=_SECONDS):
        try:
            return bool(self._lock.acquire(timeout=seconds))
        except LockTimeout:
            return False

    def release(self):
        assert self._lock.release()


def curator_is_here():
    return shutil.which("javac") is not None and (JARS / "curator-recipes.jar").exists()
