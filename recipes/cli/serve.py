"""`recipes serve`: one server in the foreground."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.core.build import describe_build
from recipes.core.config import ServerConfig, parse_zoo_cfg
from recipes.core.errors import ConfigError, RecipesError
from recipes.core.properties import read_text
from recipes.core.server.descriptors import raise_limit
from recipes.core.server.server import Server

if TYPE_CHECKING:
    from recipes.cli.traced import TracedServer


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0; 2 for a wrong setting; 1 when the server cannot run."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    try:
        config = _config(arguments)
        traced = _traced(config, arguments.trace, arguments.trace_mb)
        raise_limit()
        logging.getLogger("recipes.server").info("build: %s", describe_build())
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, traced, until_eof=arguments.until_eof))
    except ConfigError as error:
        return _fail(2, str(error))
    except RecipesError as error:
        return _fail(1, str(error))
    except OSError as error:
        return _fail(1, f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recipes serve", description="Run a server in the foreground.")
    parser.add_argument("zoo_cfg", nargs="?", type=Path, help="zoo.cfg; without it 127.0.0.1:2181 and ./recipes-data")
    parser.add_argument(
        "--port", type=int, help="port for clients, in place of zoo.cfg's clientPort; 0 takes a free one"
    )
    parser.add_argument(
        "--host", help="listen for clients on this address only, in place of zoo.cfg's clientPortAddress"
    )
    parser.add_argument("--admin-port", type=int, help="serve admin HTTP on this port")
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="directory of the snapshots, of the log unless dataLogDir says otherwise, and of myid",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="of a member of an ensemble: write to this file what it does, for `recipes lab stitch`; see docs/lab.md",
    )
    parser.add_argument("--trace-mb", type=int, metavar="MB", help="how large that file may become; 64 if not given")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input, a pipe, is closed")
    return parser


def _config(arguments: argparse.Namespace) -> ServerConfig:
    data_dir: Path | None = arguments.data_dir
    if data_dir is not None and data_dir.exists() and not data_dir.is_dir():
        raise ConfigError("--data-dir", data_dir, "a directory, and it is not one")
    if arguments.zoo_cfg:
        config, warnings = _read(arguments.zoo_cfg, data_dir)
    else:
        config, warnings = ServerConfig(data_dir=data_dir or Path("recipes-data")), []
    for warning in warnings:
        logging.getLogger("recipes.server").warning("%s", warning)
    for option, port in (("--port", arguments.port), ("--admin-port", arguments.admin_port)):
        if port is not None and not 0 <= port <= 65535:
            raise ConfigError(option, port, "a port number between 0 and 65535")
    if arguments.host == "":
        raise ConfigError("--host", "", "an address or a name")
    stated: dict[str, object] = {}
    if arguments.port is not None:
        stated["client_port"] = arguments.port
    if arguments.host is not None:
        stated["client_address"] = arguments.host
    if arguments.admin_port is not None:
        stated |= {"admin_enabled": True, "admin_port": arguments.admin_port}
    return _with_pem_files(config.model_copy(update=stated))


def _with_pem_files(config: ServerConfig) -> ServerConfig:
    """Return `config`. Raises ConfigError for a TLS file that cannot be read, before anything is started."""
    used = [
        (
            "ssl",
            config.secure_client_port is not None or config.client_port_unification,
            config.ssl_key_store,
            config.ssl_trust_store,
        ),
        (
            "ssl.quorum",
            config.ssl_quorum or config.port_unification,
            config.ssl_quorum_key_store,
            config.ssl_quorum_trust_store,
        ),
    ]
    for prefix, on, *files in used:
        for name, file in zip(("keyStore", "trustStore"), files, strict=True):
            if on and file is not None:
                try:
                    file.open("rb").close()
                except OSError as error:
                    raise ConfigError(f"{prefix}.{name}.location", file, f"a PEM file: {error.strerror}") from None
    return config


def _read(zoo_cfg: Path, data_dir: Path | None) -> tuple[ServerConfig, list[str]]:
    try:
        text = read_text(zoo_cfg)
    except OSError as error:
        sys.exit(_fail(2, f"{zoo_cfg}: {error.strerror}"))
    return parse_zoo_cfg(text, str(zoo_cfg), data_dir)


def _traced(config: ServerConfig, file: Path | None, most_mb: int | None) -> "TracedServer | None":
    """What traces this server, if that is wanted. Raises ConfigError if it cannot be."""
    if file is None:
        if most_mb is not None:
            raise ConfigError("--trace-mb", most_mb, "--trace FILE beside it")
        return None
    from recipes.cli.traced import TracedServer  # nothing of the laboratory is loaded without it

    return TracedServer(config, file, most_mb)


async def _serve(config: ServerConfig, traced: "TracedServer | None", *, until_eof: bool) -> None:
    loop, serving, is_stopping = asyncio.get_running_loop(), asyncio.current_task(), False

    def stop() -> None:
        nonlocal is_stopping
        if serving is not None and not is_stopping:  # a second signal must not break off the end
            is_stopping = True
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_eof, loop, stop)
    try:
        # Its start may wait for a port or a name.
        async with Server(config) if traced is None else traced as server:
            if config.client_port is None:
                where = f"{config.secure_client_address}:{server.secure_client_port}"
            else:
                where = f"{config.client_address}:{server.client_port}"
            print(f"recipes serve: accepting clients on {where}", flush=True)
            await asyncio.wait((server.failed,))
            server.failed.result()
    except asyncio.CancelledError:
        if not is_stopping:
            raise


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _fail(code: int, message: str) -> int:
    print(f"recipes serve: {' '.join(message.split())}", file=sys.stderr)
    return code
