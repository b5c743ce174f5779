"""`Name[Job](client, path)`, where Job is the type of the values."""

from typing import Any


class Typed:
    """Passes the type of the values to `of_tasks`, the async object behind it, which reads and writes them."""

    of_tasks: Any

    def __setattr__(self, name: str, value: Any) -> None:
        # Python sets __orig_class__ once the object exists.
        object.__setattr__(self.of_tasks if name == "__orig_class__" else self, name, value)
