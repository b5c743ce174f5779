"""Tables as a picture, in SVG: for slides, and for print without colours."""

from collections.abc import Sequence
from typing import NamedTuple

from recipes.lab.svg import Element

_INK, _PALE = "#1b1b1b", "#8a8a8a"
_ROW, _LEFT, _GAP = 18, 12, 16
_NARROW, _WIDE = 0.6, 1.0  # of the height of a font, about: a Latin character, and a Chinese one
_FIRST_WIDE = "\u1100"
_SIZE, _CAPTION_SIZE, _TITLE_SIZE = 11, 12, 14
_MOST_ROWS = 150


class Changed(str):
    """The text of a cell that the event has changed: it is marked."""


class Table(NamedTuple):
    """A table. most: characters of a text that are drawn. Of many rows the last ones are drawn."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    most: int = 60


def document(title: str, width: int, height: int) -> Element:
    """An empty picture on white paper, at least so wide, with its title."""
    width = max(width, _width(title, _TITLE_SIZE) + 2 * _LEFT)
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", width=width,
                   height=height, role="img", font_family="system-ui, sans-serif", font_size=_SIZE)  # fmt: skip
    root.add("title", title)
    root.add("rect", width=width, height=height, fill="#ffffff")
    root.add("text", title, x=_LEFT, y=20, font_size=_TITLE_SIZE, fill=_INK)
    return root


def draw_tables(title: str, tables: Sequence[Table]) -> str:
    """The tables below each other, in SVG."""
    root = document(title, max(map(width_of, tables)), 40 + sum(map(height_of, tables)))
    y = 40
    for table in tables:
        add_table(root, table, y)
        y += height_of(table)
    return f"{root.text()}\n"


def add_table(root: Element, table: Table, top: int) -> None:
    """Draw a table; `top` is where its caption begins."""
    widths = _widths(table)
    y = top + _ROW
    less = len(table.rows) - _MOST_ROWS
    caption = f"{table.caption}, the last {_MOST_ROWS} of {len(table.rows)}" if less > 0 else table.caption
    root.add("text", caption, x=_LEFT, y=y, font_size=_CAPTION_SIZE, font_weight="bold", fill=_INK)
    for number, row in enumerate([table.heads, *table.rows[max(less, 0) :]]):
        y += _ROW
        x = _LEFT
        for cell, width in zip(row, widths, strict=True):
            changed = isinstance(cell, Changed)
            root.add("text", _text(cell, table.most), x=x, y=y, fill=_INK if number else _PALE,
                     font_weight="bold" if changed else None)  # fmt: skip
            x += width
        if not number:
            root.add("line", x1=_LEFT, x2=_LEFT + sum(widths) - _GAP, y1=y + 5, y2=y + 5, stroke=_INK)


def height_of(table: Table) -> int:
    """How high a table is, with its caption and the room below it."""
    return _ROW * (min(len(table.rows), _MOST_ROWS) + 3)


def width_of(table: Table) -> int:
    """How wide a table is, with the margins of the paper."""
    return max(_width(table.caption, _CAPTION_SIZE), sum(_widths(table))) + 2 * _LEFT


def _widths(table: Table) -> list[int]:
    shown = [table.heads, *table.rows[-_MOST_ROWS:]]
    columns = zip(*shown, strict=True)
    return [max(_width(_text(cell, table.most), _SIZE) for cell in column) + _GAP for column in columns]


def _text(cell: str, most: int) -> str:
    text = f"● {cell}" if isinstance(cell, Changed) else cell
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _width(text: str, size: int) -> int:
    """About how wide a text is, in px: nothing here knows the font."""
    return round(size * sum(_NARROW if each < _FIRST_WIDE else _WIDE for each in text))
