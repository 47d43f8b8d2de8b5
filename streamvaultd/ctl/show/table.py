# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as systemctl(1) prints them: columns two blanks apart, no lines; fitted to a terminal, whole in a pipe."""

from __future__ import annotations

from streamvaultd.ctl.show.text import Line, Span, Style, escape, shorten, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

_GAP: Final = "  "


class Column:
    """`least`: it may be shortened to this width to fit (None: never). `drop`: the greatest is left out first to fit
    (0: never).
    """

    __slots__ = ("drop", "is_number", "least", "title")

    def __init__(self, title: str, *, is_number: bool = False, least: int | None = None, drop: int = 0) -> None:
        self.title = title
        self.is_number = is_number
        self.least = least
        self.drop = drop


class Table:
    """Rows of as many cells as there are columns; an empty cell is shown as `-`."""

    __slots__ = ("columns", "rows")

    def __init__(self, columns: tuple[Column, ...], rows: tuple[tuple[Span, ...], ...]) -> None:
        self.columns = columns
        self.rows = rows

    def lines(self, *, columns: int | None, has_header: bool, is_whole: bool = False) -> list[Line]:
        """The table's lines, at most `columns` wide if that can be reached, as wide as needed if None.

        `is_whole`: no column may be left out.
        """
        table = self._escaped()
        widths = table._natural(has_header=has_header)
        if columns is not None and not is_whole:
            table = table._with(table._kept(widths, columns))
            widths = table._natural(has_header=has_header)
        if columns is not None:
            widths = _shrunk(widths, table._least(widths), columns)
        head = tuple(Span(column.title, Style.HEAD) for column in table.columns)
        return [table._line(row, widths) for row in ((head,) if has_header else ()) + table.rows]

    def _natural(self, *, has_header: bool) -> list[int]:
        titles = [len(column.title) if has_header else 0 for column in self.columns]
        return [max([title, *(width(row[at].text) for row in self.rows)]) for at, title in enumerate(titles)]

    def left_out(self, *, columns: int | None, has_header: bool) -> list[str]:
        """The titles of the columns that do not fit."""
        if columns is None:
            return []
        table = self._escaped()
        kept = table._kept(table._natural(has_header=has_header), columns)
        return [column.title for at, column in enumerate(self.columns) if at not in kept]

    def _escaped(self) -> Table:
        rows = (tuple(Span(escape(cell.text) or "-", cell.style) for cell in row) for row in self.rows)
        return Table(self.columns, tuple(rows))

    def _with(self, kept: list[int]) -> Table:
        rows = (tuple(row[at] for at in kept) for row in self.rows)
        return Table(tuple(self.columns[at] for at in kept), tuple(rows))

    def _least(self, widths: list[int]) -> list[int]:
        return [min(natural, column.least or natural) for natural, column in zip(widths, self.columns, strict=True)]

    def _kept(self, widths: list[int], columns: int) -> list[int]:
        """The places of the columns that fit; those that may be left out go by their `drop`."""
        least = self._least(widths)
        kept = list(range(len(widths)))
        droppable = sorted((at for at in kept if self.columns[at].drop), key=lambda at: self.columns[at].drop)
        while droppable and _total([least[at] for at in kept]) > columns:
            kept.remove(droppable.pop())
        return kept

    def _line(self, row: tuple[Span, ...], widths: list[int]) -> Line:
        spans: list[Span] = []
        for at, (column, cell) in enumerate(zip(self.columns, row, strict=True)):
            text = cell.text if column.least is None else shorten(cell.text, widths[at])
            padding = " " * (widths[at] - width(text))
            is_last = at == len(row) - 1
            before = padding if column.is_number else ""
            after = "" if column.is_number or is_last else padding
            spans += [Span(before), Span(text, cell.style), Span(after + ("" if is_last else _GAP))]
        return tuple(span for span in spans if span.text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _shrunk(widths: list[int], least: list[int], columns: int) -> list[int]:
    """The widest first, until all fit or are at their least."""
    while _total(widths) > columns:
        able = [at for at in range(len(widths)) if widths[at] > least[at]]
        if not able:
            break
        widths[max(able, key=widths.__getitem__)] -= 1
    return widths
