"""Writes SVG. Whatever text and numbers it is given, they become text and attribute values: nothing of it is markup."""

from typing import Any

# What no XML document may have, even escaped: controls, and halves of surrogate pairs.
_FORBIDDEN = {
    code: "\ufffd" for code in (*range(0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF) if code not in (9, 10, 13)
}
_ESCAPES = str.maketrans(_FORBIDDEN | {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"})


def escape(value: object) -> str:
    """A value as text of an XML document."""
    return str(value).translate(_ESCAPES)


class Element:
    """An element with its attributes and its content: elements, and text that is escaped when it is written.

    A name of an attribute is written as XML has it, with `_` for `-`; `class_` is `class`.
    """

    def __init__(self, name: str, /, *content: "Element | str", **attributes: Any) -> None:
        self.name: str = name
        self.content: list[Element | str] = list(content)
        self.attributes: dict[str, Any] = attributes

    def add(self, name: str, /, *content: "Element | str", **attributes: Any) -> "Element":
        """Put an element at the end of this one; returns the new one."""
        child = Element(name, *content, **attributes)
        self.content.append(child)
        return child

    def text(self) -> str:
        """The element in SVG."""
        parts: list[str] = []
        self._write(parts)
        return "".join(parts)

    def plain(self) -> list[Any]:
        """The element as JSON can hold it: its name, its attributes, its content. Nothing is escaped there."""
        attributes = {_name(name): _number(value) for name, value in self.attributes.items() if value is not None}
        return [
            self.name,
            attributes,
            *(each.plain() if isinstance(each, Element) else str(each) for each in self.content),
        ]

    def _write(self, parts: list[str]) -> None:
        parts.append(f"<{self.name}")
        for name, value in self.attributes.items():
            if value is not None:
                parts.append(f' {_name(name)}="{escape(_number(value))}"')
        if not self.content:
            parts.append("/>")
            return
        parts.append(">")
        for each in self.content:
            if isinstance(each, Element):
                each._write(parts)
            else:
                parts.append(escape(each))
        parts.append(f"</{self.name}>")


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _number(value: object) -> str:
    """A value of an attribute; numbers in few digits."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
