"""One znode in memory, as bytes or as a model."""

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from recipes.cache.cache import Cache
from recipes.core.client.view import Node

if TYPE_CHECKING:
    from recipes.core.client.client import Client

T = TypeVar("T", default=bytes)


class NodeCache(Cache, Generic[T]):
    """`async with NodeCache(client, "/config") as cache:` one znode, kept in memory.

    client: a connected Client. path: the znode; it need not exist.
    model: the type of its data, read as JSON by pydantic: a model, or any type that pydantic knows. Without it the data
        are bytes. `NodeCache[Settings](client, path)` does the same.

    See `Cache` for the guarantee and the errors. Children are not watched: the fields of the Stat about children are as
    of the last reading.
    """

    def __init__(self, client: "Client", path: str, *, model: type[T] | None = None) -> None:
        super().__init__(client, path, 0, recursive=False)
        self._model = model
        self._adapter: Any = None
        self._read: tuple[Node, T] | None = None  # the value of that Node

    @property
    def node(self) -> Node | None:
        """Data and Stat; None when there is no such znode."""
        return self._mirror.copy.nodes.get(self.path)

    @property
    def value(self) -> T | None:
        """The data, decoded if there is a `model`; None when there is no such znode.

        Raises ValueError, with the path, when the data do not fit the model.
        """
        node = self.node
        if node is None:
            return None
        if self._read is None or self._read[0] is not node:
            self._read = node, self._decode(node.data)
        return self._read[1]

    def _decode(self, data: bytes) -> T:
        model: Any = self._model
        if model is None and (alias := getattr(self, "__orig_class__", None)) is not None:
            model = alias.__args__[0]
        if model is None or model is bytes:
            return data  # type: ignore[return-value]
        if self._adapter is None:
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(model)
        try:
            value: T = self._adapter.validate_json(data)
        except ValueError as error:
            name = getattr(model, "__name__", repr(model))
            raise ValueError(f"{self.path}: not the JSON of a {name}: {error}") from error
        return value
