"""For every run: asserts hold under `python -O` too, and --uvloop puts uvloop wherever asyncio would make a loop."""

import asyncio
import warnings
from pathlib import Path

import anyio.pytest_plugin
import pytest

# What tests import of one another, before the first of them does: pytest compiles these asserts itself then, as it does
# those of tests.
pytest.register_assert_rewrite(
    *(
        ".".join(path.relative_to(Path(__file__).parent).with_suffix("").parts).removesuffix(".__init__")
        for path in (Path(__file__).parent / "tests").rglob("*.py")
        if not path.name.startswith(("test_", "conftest"))
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="asyncio means uvloop: for servers, clients and recipes")


def pytest_configure(config: pytest.Config) -> None:
    # anyio's plugin notes the kind of its loop, and anyio looks there in callbacks of the loop. Programs that call
    # asyncio.run have no such note, so tests must not have it either.
    anyio.pytest_plugin.set_current_async_library = lambda name: None  # type: ignore[attr-defined]
    if config.getoption("--uvloop"):
        import uvloop

        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # policies go with Python 3.16
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def pytest_report_header(config: pytest.Config) -> str:
    loop = asyncio.new_event_loop()
    loop.close()
    return f"asyncio: {type(loop).__module__}.{type(loop).__qualname__}"
