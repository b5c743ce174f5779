"""The build backend of pyproject.toml: hatchling, and mypy where a wheel is about to be compiled (PEP 517)."""

from typing import Any

from attempt import why_not
from hatchling import build as hatchling
from hatchling.build import *  # noqa: F403 - the hooks that stay as they are

COMPILERS = ["mypy>=1.18", "setuptools>=65"]  # mypyc is part of mypy


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What pip installs before it builds a wheel. For an editable installation it asks hatchling alone."""
    needed = hatchling.get_requires_for_build_wheel(config_settings)
    return needed if why_not() else [*needed, *COMPILERS]
