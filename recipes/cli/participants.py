"""Participants of transactions, named on the command line: a TOML file, or an object of a user's module."""

import importlib
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.cli.access import WrongOption
from recipes.core.errors import RecipesError
from recipes.transaction.participant import TransactionParticipant, check_name
from recipes.transaction.tpc import TpcParticipant

_OPTION = "--participants"
_KINDS = {
    "postgres": "recipes.transaction.postgres:PostgresParticipant",
    "mariadb": "recipes.cli.participants:mariadb_participant",
    "http": "recipes.transaction.remote:RemoteParticipant",
    "file": "recipes.transaction.files:FileParticipant",
}
_METHODS = ("prepare", "commit", "abort", "recover")


def mariadb_participant(**settings: Any) -> TransactionParticipant:
    """A participant at a MariaDB server. settings: the arguments of mariadb.connect."""
    try:
        mariadb: Any = importlib.import_module("mariadb")
    except ImportError:
        raise ImportError("needs the mariadb extra: pip install 'zab-recipes[mariadb]'") from None
    return TpcParticipant(lambda: mariadb.connect(**settings))


def find_participants(given: str) -> dict[str, TransactionParticipant]:
    """The participants by name. given: MODULE:NAME of a mapping, or of a function that returns one; or a TOML file.

    The file has a table for each participant: its kind, and the arguments of its class; `{env = "NAME"}` stands for an
    environment variable. Raises WrongOption.
    """
    found = _from_file(Path(given)) if given.endswith(".toml") else _from_module(given)
    if not isinstance(found, Mapping) or not found:
        raise WrongOption(_OPTION, f"{given}: expected participants by name, not {found!r}")
    for name, participant in found.items():
        try:
            check_name(name)
        except RecipesError as error:
            raise WrongOption(_OPTION, f"{given}: {error}") from None
        missing = [method for method in _METHODS if not callable(getattr(participant, method, None))]
        if missing:
            raise WrongOption(_OPTION, f"{given}: {name} has no {missing[0]}(): expected a participant")
    return dict(found)


def _from_module(given: str) -> Any:
    module, colon, name = given.partition(":")
    if not colon or not module or not name:
        raise WrongOption(_OPTION, f"{given!r}: expected MODULE:NAME, or a file that ends in .toml")
    sys.path.insert(0, "")  # as `python -m` does: find modules of the working directory
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise WrongOption(_OPTION, f"{given}: {error}") from None
    return found() if callable(found) and not isinstance(found, Mapping) else found


def _from_file(path: Path) -> dict[str, TransactionParticipant]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongOption(_OPTION, f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongOption(_OPTION, f"{path}: {error}") from None
    return {name: _made(f"{path}: {name}", table) for name, table in tables.items()}


def _made(where: str, table: object) -> TransactionParticipant:
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(table, dict) or kind not in _KINDS:
        raise WrongOption(_OPTION, f"{where}: kind={kind!r}: expected one of {', '.join(_KINDS)}")
    settings = {key: _value(f"{where}: {key}", value) for key, value in table.items() if key != "kind"}
    module, _, name = _KINDS[kind].partition(":")
    try:
        made: TransactionParticipant = getattr(importlib.import_module(module), name)(**settings)
    except (ImportError, TypeError, ValueError, RecipesError) as error:
        raise WrongOption(_OPTION, f"{where}: {error}") from None
    return made


def _value(where: str, value: object) -> object:
    if not isinstance(value, dict):
        return value
    variable = value.get("env")
    if not isinstance(variable, str) or len(value) != 1:
        raise WrongOption(_OPTION, f'{where}: expected a value, or {{env = "NAME"}}')
    if variable not in os.environ:
        raise WrongOption(_OPTION, f"{where}: there is no variable {variable} in the environment")
    return os.environ[variable]
