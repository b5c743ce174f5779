"""What every exception class says, and that copies and pickles say the same; the classes are found, not listed."""

import copy
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest

import recipes
from recipes.core import errors
from recipes.core.errors import (
    BadArguments,
    ConfigError,
    ConnectionLoss,
    HoldLost,
    LeadershipLost,
    LockLost,
    NoNode,
    RecipesError,
    SessionExpired,
    StoreError,
    UnknownStoreError,
    store_error,
)

SAMPLES: dict[str, object] = {
    "path": "/a/path",
    "message": "a message",
    "code": -77,
    "line": 12,
    "maybe_applied": True,
    "body": b"a body",
}
WAYS: list[Callable[[BaseException], BaseException]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda error, how=how: pickle.loads(pickle.dumps(error, how)) for how in range(pickle.HIGHEST_PROTOCOL + 1)),
]


def classes() -> list[type[BaseException]]:
    """Every exception class of the package; a SystemExit is no error but how a command ends."""
    for module in pkgutil.walk_packages(recipes.__path__, "recipes."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found = {cls for cls in below(BaseException) if not issubclass(cls, SystemExit)}
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def below(cls: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in cls.__subclasses__():
        if each.__module__.split(".")[0] == "recipes":
            yield each
        yield from below(each)


def sample(cls: type[BaseException]) -> BaseException:
    """One with every argument given, each with a value of its own."""
    arguments, keywords = [], {}
    if any(cls.__init__ is builtin.__init__ for builtin in (BaseException, Exception, ValueError)):
        return cls("a text")
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = SAMPLES.get(name, f"the {name}")
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            arguments.append(SAMPLES.get(name, f"the {name}"))
        else:
            return cls("a text")
    return cls(*arguments, **keywords)


def shown(error: BaseException) -> list[str]:
    """All there is to see of an error."""
    return [type(error).__qualname__, str(error), repr(error), repr(error.args), repr(sorted(vars(error).items()))]


def seen() -> dict[str, list[list[str]]]:
    """Of every class what is seen of one, and of each copy of it."""
    return {
        f"{cls.__module__}.{cls.__qualname__}": [shown(way(sample(cls))) for way in (lambda error: error, *WAYS)]
        for cls in classes()
    }


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's module, as far as pickle looks at it."""
    module = ModuleType("a_program_that_uses_recipes")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def put(program: ModuleType, name: str, cls: type[BaseException], **members: object) -> type[BaseException]:
    made = type(name, (cls,), {"__module__": program.__name__, **members})
    setattr(program, name, made)
    return made


def test_the_classes_are_found():
    assert {LockLost, NoNode, ConfigError, ConnectionLoss} <= set(classes())


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__qualname__)
def test_w10_every_error_is_the_same_after_a_copy_or_a_pickle(cls: type[BaseException]):
    error = sample(cls)
    for way in WAYS:
        again = way(error)
        assert type(again) is cls
        assert shown(again) == shown(error)


def test_w10_review_2_every_error_says_the_same_without_docstrings():
    code = [sys.executable, "-W", "error", "-OO", __file__]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert json.loads(done.stdout) == seen()


@pytest.mark.parametrize("cls", [cls for cls in classes() if issubclass(cls, RecipesError)], ids=lambda c: c.__name__)
def test_w10_a_subclass_of_a_user_needs_no_docstring_and_no_call_of_init(cls: type[BaseException], program: ModuleType):
    plain = put(program, "Plain", cls)
    assert str(sample(plain)) == str(sample(cls))

    def __init__(self: BaseException, number: int, *, why: str) -> None:
        self.number, self.why = number, why  # type: ignore[attr-defined]

    own = put(program, "Own", cls, __init__=__init__)
    for error in (sample(plain), own(7, why="so")):
        assert "Own" in repr(error) or "Plain" in repr(error)
        for way in WAYS:
            assert shown(way(error)) == shown(error)


def test_w10_notes_and_attributes_of_a_user_are_kept():
    error = LockLost("/a", "the session is over")
    error.add_note("while it printed")
    error.job = 7  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(error))
    assert (again.__notes__, again.job, again.path) == (["while it printed"], 7, "/a")


def test_w10_the_errors_that_had_other_arguments_than_attributes_keep_all_of_them():
    config = pickle.loads(pickle.dumps(ConfigError("tickTime", "x", "a number", source="zoo.cfg", line=3)))
    assert (config.key, config.value, config.expected, config.source, config.line) == (
        ("tickTime", "x", "a number", "zoo.cfg", 3)
    )
    loss = copy.copy(ConnectionLoss("broken", path="/a", maybe_applied=True))
    assert (loss.path, loss.maybe_applied, str(loss)) == ("/a", True, "broken: /a; it may have been applied")
    unknown = copy.deepcopy(UnknownStoreError(-77, "/a"))
    assert (unknown.code, unknown.path, UnknownStoreError.code) == (-77, "/a", StoreError.code)
    expired = pickle.loads(pickle.dumps(SessionExpired(path="/a")))
    assert (expired.path, str(expired)) == ("/a", "session expired: /a")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LockLost("/a", "the session is over"), "The lock was lost: /a (the session is over)"),
        (LeadershipLost("/a"), "Leadership was lost: /a"),
        (HoldLost("/a"), "The hold was lost: /a"),
        (NoNode("/a"), "There is no such znode: /a"),
        (store_error(-77, "/a"), "The server answered with a code this client does not know: /a (code -77)"),
        (BadArguments("/a"), "An argument is not valid: /a"),
        (BadArguments("/a/", "it ends with /"), "'/a/': it ends with /"),
        (BadArguments("", "size=0: expected 1 or more"), "size=0: expected 1 or more"),
    ],
)
def test_what_errors_say(error: RecipesError, text: str):
    assert str(error) == text


def test_every_code_is_in_the_table_of_a_class_that_says_what_it_means():
    for code, cls in StoreError.by_code.items():
        assert type(store_error(code, "/a")) is cls
        assert "meaning" in vars(cls), f"{cls.__name__} says nothing of its own"


def test_review_a_wrong_argument_is_pythons_value_error_too():
    with pytest.raises(ValueError, match="session_timeout=0: expected seconds"):
        recipes.connect("127.0.0.1", session_timeout=0)


def test_newcomer_21_no_two_names_of_errors_are_near_enough_to_be_taken_for_one_another():
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    near = [
        (a, b) for a in names for b in names if a < b and (a + "s" == b or a.replace("s", "") == b.replace("s", ""))
    ]
    assert near == []


if __name__ == "__main__":
    json.dump(seen(), sys.stdout)
