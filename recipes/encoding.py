"""How values are stored: bytes as they are, values of types that pydantic knows as JSON."""

from typing import Any, Generic, cast

from typing_extensions import TypeVar

T = TypeVar("T", default=bytes)


class Encoding(Generic[T]):
    """Converts between values and stored bytes.

    model: the type of the values; without it the type argument of `owner`, such as Job in Queue[Job](...), else bytes.
    """

    def __init__(self, owner: object, model: type[T] | None) -> None:
        self._owner = owner
        self._model = model
        self._adapter: Any = None  # made at first use, since `owner` has its type argument only after its __init__

    @property
    def name(self) -> str:
        """The name of the type."""
        model = self._type()
        return getattr(model, "__name__", str(model))

    def read(self, data: bytes) -> T:
        """Decode a value. Raises ValueError for invalid data."""
        adapter = self._found()
        return cast("T", data if adapter is _BYTES else adapter.validate_json(data))

    def write(self, value: T) -> bytes:
        """Encode a value. Raises TypeError and ValueError for a value of another type."""
        adapter = self._found()
        if adapter is not _BYTES:
            written: bytes = adapter.dump_json(adapter.validate_python(value))
            return written
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"data: expected bytes, not {type(value).__name__}; give model=TYPE for other items")
        return bytes(value)

    def _type(self) -> Any:
        if self._model is None and (alias := getattr(self._owner, "__orig_class__", None)) is not None:
            self._model = alias.__args__[0]
        return bytes if self._model is None else self._model

    def _found(self) -> Any:
        if self._adapter is None:
            model = self._type()
            if model is bytes:
                self._adapter = _BYTES
            else:
                from pydantic import TypeAdapter  # imported here because it is slow to import

                self._adapter = TypeAdapter(model)
        return self._adapter


_BYTES = object()
