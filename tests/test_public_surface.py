"""What `recipes` and `recipes.testing` offer by name: all that their calls take and give, lazily, fully typed."""

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import recipes
import recipes.blocking
import recipes.testing
from recipes.core import errors

ROOT = Path(__file__).resolve().parent.parent
ENTERED = {"__init__", "__enter__", "__aenter__", "__iter__", "__aiter__", "__next__", "__anext__", "__await__"}
# parse_zoo_cfg makes the first and `Client.atomically` the last; the others are for our own recipes.
NOT_FOR_USERS = {
    "ServerConfig.membership", "Client.home", "Client.session", "Client.portal", "SessionScope.home", "Call.watch",
    "Transaction.__init__", "Partition.__init__", "EnlistedBranch.__init__",
}  # fmt: skip
PUBLIC = {name: getattr(recipes, name) for name in recipes.__all__}
OFFERED = [
    *PUBLIC.values(),
    *(getattr(module, name) for module in (recipes.testing, recipes.blocking) for name in module.__all__),
]


@cache
def names_of(module: str) -> dict[str, object]:
    """What an annotation in this module can mean: its names, and those it imports for type checkers only."""
    names = dict(vars(import_module(module)))
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec("\n".join(map(ast.unparse, node.body)), names)
    return names


def functions_of(cls: type) -> Iterator[Callable[..., object]]:
    """The methods and properties of a class that its users call."""
    for name, member in inspect.getmembers_static(cls):
        if not name.startswith("_") or name in ENTERED:
            found = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if inspect.isfunction(inspect.unwrap(found)) and found.__module__.startswith("recipes"):
                yield inspect.unwrap(found)


def types_in(hint: object) -> Iterator[type]:
    """The classes of ours that an annotation names, however deep."""
    if isinstance(hint, list):
        hints = hint
    else:
        hints = list(typing.get_args(hint))
        named = typing.get_origin(hint) or hint
        if isinstance(named, type) and named.__module__.startswith("recipes"):
            yield named
    for each in hints:
        yield from types_in(each)


def asked(function: Callable[..., object]) -> dict[str, object]:
    """What a function takes and gives."""
    return typing.get_type_hints(function, names_of(function.__module__))


def attributes_of(cls: type) -> Iterator[tuple[str, object]]:
    """The public ones that a class annotates, in its body or where its `__init__` sets them."""
    for name, hint in typing.get_type_hints(cls, names_of(cls.__module__)).items():
        if not name.startswith("_"):
            yield name, hint
    if inspect.isfunction(made := vars(cls).get("__init__")) and made.__code__.co_filename == inspect.getsourcefile(
        cls
    ):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(made)))):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).startswith("self."):
                name = ast.unparse(node.target).removeprefix("self.")
                if not name.startswith("_"):
                    yield name, eval(ast.unparse(node.annotation), names_of(cls.__module__))


def used() -> Iterator[tuple[str, type]]:
    """(where, type) of all that public calls take and give and that public objects have."""
    functions = [inspect.unwrap(each) for each in OFFERED if inspect.isfunction(each)]
    classes = [each for each in OFFERED if isinstance(each, type)]
    functions += [function for each in classes for function in functions_of(each)]
    had = [
        (f"{cls.__name__}.{name}", each)
        for cls in classes
        for base in cls.__mro__
        if base.__module__.startswith("recipes")
        for name, hint in attributes_of(base)
        for each in types_in(hint)
    ]
    given = {each for function in functions for each in types_in(asked(function).get("return"))}
    given |= {each for _, each in had}
    # What calls give is not made by users, nor is what it is based on.
    not_called = {vars(base).get("__init__") for each in given for base in each.__mro__}
    for function in functions:
        if function not in not_called:
            yield from ((function.__qualname__, each) for hint in asked(function).values() for each in types_in(hint))
    yield from had


def run(code: str, *flags: str) -> str:
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_newcomer_21_every_type_a_public_call_takes_or_gives_has_a_public_name():
    missing = {(where, each.__name__) for where, each in used() if each not in OFFERED and where not in NOT_FOR_USERS}
    assert missing == set()


def test_newcomer_21_the_types_to_annotate_with_are_there():
    from recipes import EventType, Leader, Participant, Watch, WatchEvent, WatchStream

    for each in (EventType, Leader, Participant, Watch, WatchEvent, WatchStream):
        assert isinstance(each, type)


def test_every_error_is_public():
    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    ours = {name for name in ours if not name.startswith("_")}
    assert ours <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_name_of_the_thing(name: str):
    assert getattr(PUBLIC[name], "__name__", name) == name


def test_review_18_a_recipe_is_found_in_its_room():
    from recipes.election import Election, Leader, Term
    from recipes.lock import Grant, Lock

    assert (Lock, Grant, Election, Leader, Term) == tuple(
        PUBLIC[name] for name in ("Lock", "Grant", "Election", "Leader", "Term")
    )


def test_all_names_are_there_for_a_star_and_for_dir_without_docstrings_too():
    code = "from recipes import *; import recipes as r; print(sorted(set(r.__all__) & set(globals()) & set(dir(r))))"
    assert run(code, "-OO") == f"{sorted(PUBLIC)}\n"


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'recipes' has no attribute 'Lok'"):
        recipes.Lok  # noqa: B018


@pytest.mark.parametrize(
    ("code", "unloaded"),
    [
        ("import recipes", ["recipes."]),
        (
            "from recipes import connect, Watch; from recipes.lock import Lock; from recipes.election import Election",
            ["recipes.core.server", "recipes.core.config", "pydantic"],
        ),
        ("from recipes import serve, parse_zoo_cfg", ["recipes.core.client", "recipes.lock", "anyio"]),
        ("from recipes import NoNode, Perms, ACL", ["recipes.core.client", "recipes.core.server"]),
    ],
)
def test_a_name_loads_what_it_needs_and_no_more(code: str, unloaded: list[str]):
    assert (
        run(f"{code}; import sys; print([name for name in sys.modules if name.startswith({tuple(unloaded)})])")
        == "[]\n"
    )


@pytest.fixture
def tool(need_tool: Callable[[str, bool], None]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """tool("mypy", *arguments): the tool of this interpreter's environment, in the directory of the project."""

    def run_tool(name: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        need_tool(f"{name} (the extra `dev`)", find_spec(name) is not None)
        # It asks the first `python` on the path where packages are.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-m", name, *arguments],
            capture_output=True,
            text=True,
            timeout=110,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": path},
        )

    return run_tool


@pytest.mark.skipif(sys.flags.optimize > 1, reason="docstrings are gone under -OO")
def test_review_20_every_call_that_waits_says_what_it_raises_or_where_that_is_said():
    silent = [
        function.__qualname__
        for each in PUBLIC.values()
        if isinstance(each, type) and not issubclass(each, Exception)
        for function in functions_of(each)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        if not any("aise" in text or "; see " in text for text in (function.__doc__ or "", *docs_of(each)))
    ]
    assert silent == []


def docs_of(each: type) -> list[str]:
    return [base.__doc__ or "" for base in each.__mro__ if base.__module__.startswith("recipes")]


@pytest.mark.thorough  # pyright takes ten seconds of a processor
def test_review_18_every_public_symbol_has_a_known_type(
    tool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    # In a directory of its own: where the sources are, they would not count as an installed package.
    arguments = ("--verifytypes", "recipes", "--ignoreexternal", "--outputjson")
    done = tool("pyright", *arguments, cwd=tmp_path)
    found = json.loads(done.stdout)["typeCompleteness"]
    unsure = [
        f"{symbol['name']}: {why['message']}"
        for symbol in found["symbols"]
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
        for why in symbol["diagnostics"]
        if why["severity"] == "error"
    ]
    assert unsure == []
    assert found["exportedSymbolCounts"]["withKnownType"] > 1000
    assert found["completenessScore"] == 1


def test_a_name_that_is_not_there_is_an_error_to_type_checkers(
    tool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    program = tmp_path / "program.py"
    program.write_text("from recipes import Lock, Lok\n")
    found = json.loads(tool("pyright", "--outputjson", "program.py", cwd=tmp_path).stdout)["generalDiagnostics"]
    assert [each["message"] for each in found] == ['"Lok" is unknown import symbol']
