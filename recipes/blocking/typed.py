"""`Name[Job](client, path)`, which says of what type values are."""

from typing import Any


class Typed:
    """Tells the async object behind it, which reads and writes the values. of_tasks: that object."""

    of_tasks: Any

    def __setattr__(self, name: str, value: Any) -> None:
        # Python says it once the object is there.
        object.__setattr__(self.of_tasks if name == "__orig_class__" else self, name, value)
