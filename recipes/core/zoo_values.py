"""The types of values in zoo.cfg, as pydantic checks them. A ValueError's text is in config's table of reasons."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recipes.core.protocols import SIMULATED, ProtocolName
from recipes.core.zoo_keys import whole_number


def _whole(value: Any) -> Any:
    """A number as Java reads it: Python would take 1_000 and 1.0 too."""
    if isinstance(value, str):
        number = whole_number(value)
        if number is None:
            raise ValueError("not a whole number")
        return number
    return value


def _path(value: Any) -> Any:
    if value == "":
        raise ValueError("no path")
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        lowered = value.lower()
        if lowered not in ("true", "false"):
            raise ValueError("not a boolean")
        return lowered == "true"
    return value


def _yes_no(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("yes", "no"):
            raise ValueError("not yes or no")
        return value == "yes"
    return value


def _three(value: Any) -> Any:
    if _whole(value) != 3:
        raise ValueError("not 3")
    return 3


def _pem(value: Any) -> Any:
    if str(value).upper() != "PEM":
        raise ValueError("not PEM")
    return "PEM"


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _replication(value: Any) -> Any:
    if _lower(value) in SIMULATED:
        raise ValueError("simulated only")
    return _lower(value)


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _protocol(value: Any) -> Any:
    return () if value == "TLS" else _words(value)  # TLS: whatever version both ends have


Boolean = Annotated[bool, BeforeValidator(_boolean)]
YesNo = Annotated[bool, BeforeValidator(_yes_no)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Protocol = Annotated[tuple[str, ...], BeforeValidator(_protocol)]
Three = Annotated[int, BeforeValidator(_three)]
Pem = Annotated[str, BeforeValidator(_pem)]
ClientAuth = Annotated[Literal["need", "want", "none"], BeforeValidator(_lower)]
Replication = Annotated[ProtocolName, BeforeValidator(_replication)]
PeerType = Annotated[Literal["participant", "observer"], BeforeValidator(_lower)]
Whole = Annotated[int, BeforeValidator(_whole)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Positive = Annotated[Whole, Field(gt=0)]
Limit = Annotated[Whole, Field(ge=0)]  # 0: none
File = Annotated[Path, BeforeValidator(_path)]
