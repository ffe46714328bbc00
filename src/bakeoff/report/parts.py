"""What a section is made of; the template knows how each looks."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Cell = str | Markup
"""Text, which the template escapes, or something that was drawn here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under named columns."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()  # columns that are set flush right


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart and what it shows."""

    title: str
    drawn: Markup
    says: str


Block = str | Table | Figure | tuple[Figure, ...]
"""A paragraph, a table, a figure or figures side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page, with an address of its own."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], numbers: Sequence[int] = ()) -> Table:
    return Table(caption=caption, head=tuple(head), rows=tuple(tuple(row) for row in rows), numbers=frozenset(numbers))


def badge(word: str) -> Markup:
    """A verdict as a coloured word."""
    return Markup('<span class="badge {}">{}</span>').format(word.lower(), word)
