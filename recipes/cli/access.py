"""How a command reaches servers: addresses, TLS and credentials, from options or the environment."""

import os
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
from cyclopts import Parameter

from recipes.cli.hosts import find_hosts
from recipes.cli.terminal import complain
from recipes.core.client.client import Client
from recipes.core.client.connect import connect

R = TypeVar("R")
Switch = Annotated[bool, Parameter(negative=())]


class WrongOption(SystemExit):
    """Ends the command with exit code 2, after one line on standard error that says why."""

    def __init__(self, option: str, why: str) -> None:
        complain("recipes", f"{option}: {why}")
        super().__init__(2)


@dataclass(frozen=True)
class TlsOptions:
    """TLS, for servers with a secure client port. Any of these switches it on.

    Attributes:
        tls: use TLS, and trust the certificate authorities that this machine trusts.
        cacert: a PEM file: the authorities to trust in place of these; else RECIPES_CACERT.
        cert: a PEM file: our own certificate; else RECIPES_CERT.
        key: a PEM file: the key of our certificate, when it is not in the same file; else RECIPES_KEY.
    """

    tls: Switch = False
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext | None:
        """The TLS context, or None without TLS. Raises WrongOption for a file that cannot be used."""
        cacert, cert, key = (_stated(name, getattr(self, name)) for name in ("cacert", "cert", "key"))
        if not (self.tls or cacert or cert or key):
            return None
        if key and not cert:
            raise WrongOption("--key", "expected --cert too, the certificate that the key belongs to")
        try:
            context = ssl.create_default_context(cafile=cacert)
        except (OSError, ssl.SSLError) as error:
            raise WrongOption(f"--cacert {cacert}", _why(error)) from None
        if cert:
            try:
                context.load_cert_chain(cert, key)
            except (OSError, ssl.SSLError) as error:
                given = f"--cert {cert}" + (f" --key {key}" if key else "")
                raise WrongOption(given, _why(error)) from None
        return context


@dataclass(frozen=True)
class Access(TlsOptions):
    """Servers to connect to, and credentials for them.

    Attributes:
        hosts: HOST:PORT,...; else RECIPES_HOSTS, else the store of this user on this machine.
        auth_file: a file with SCHEME:CREDENTIALS, such as digest:user:password, on each line; else the one in
            RECIPES_AUTH.
        auth: SCHEME:CREDENTIALS. Everybody on this machine can read it in the list of processes: prefer --auth-file.
    """

    hosts: str | None = None
    auth_file: Path | None = None
    auth: str | None = None

    def connect(
        self, session_timeout: float = 15.0, *, read_only: bool = False, renew: bool = False
    ) -> tuple[str, Client]:
        """The hosts, at least one of which listens, and a client for them. Raises WrongOption, NothingListens."""
        auth, tls = self.credentials(), self.context()  # first, so that wrong options are reported first
        hosts = find_hosts(self.hosts)
        client = connect(hosts, session_timeout=session_timeout, auth=auth, tls=tls, read_only=read_only, renew=renew)
        return hosts, client

    def client(self, hosts: str, session_timeout: float) -> Client:
        """Another client for hosts that `connect` has found. Raises WrongOption."""
        return connect(hosts, session_timeout=session_timeout, auth=self.credentials(), tls=self.context())

    def run(self, act: Callable[[Client], Coroutine[Any, Any, R]]) -> R:
        """Connect, and return the result of `await act(client)`. Raises what `connect` and `act` raise."""
        _, client = self.connect()

        async def inside() -> R:
            async with client:
                return await act(client)

        return anyio.run(inside)

    def credentials(self) -> list[tuple[str, str]]:
        """Pairs of scheme and credentials. Raises WrongOption, which never shows them."""
        if self.auth is not None:
            return [_pair("--auth", self.auth)]
        if self.auth_file is not None:
            option = f"--auth-file {self.auth_file}"
            try:
                lines = self.auth_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise WrongOption(option, _why(error)) from None
            return [_pair(f"{option}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
        given = os.environ.get("RECIPES_AUTH")
        return [_pair("RECIPES_AUTH", given)] if given else []


def _stated(name: str, given: Path | None) -> str | None:
    return str(given) if given is not None else os.environ.get(f"RECIPES_{name.upper()}") or None


def _pair(option: str, text: str) -> tuple[str, str]:
    scheme, _, credentials = text.partition(":")
    if not scheme or not credentials:
        raise WrongOption(option, "expected SCHEME:CREDENTIALS, such as digest:user:password")
    return scheme, credentials


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, ssl.SSLError):
        return f"not a suitable PEM file: {error.reason or error}"
    return getattr(error, "strerror", None) or str(error)
