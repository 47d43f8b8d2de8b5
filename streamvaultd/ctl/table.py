# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as systemctl(1) prints them: columns two blanks apart, no lines; fitted to a terminal, whole in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.ctl.text import Line, Span, Style, escape, shorten, width

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
_NARROWEST: Final = 8


class Column(NamedTuple):
    """`is_number` aligns to the right; `can_shrink` marks text that may be shortened to fit."""

    title: str
    is_number: bool = False
    can_shrink: bool = False


class Table(NamedTuple):
    """Rows of as many cells as there are columns; an empty cell is shown as `-`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Span, ...], ...]

    def lines(self, *, columns: int | None, has_header: bool) -> list[Line]:
        """The table's lines, at most `columns` wide if that can be reached, as wide as needed if None."""
        rows = [tuple(Span(escape(cell.text) or "-", cell.style) for cell in row) for row in self.rows]
        head = tuple(Span(column.title, Style.HEAD) for column in self.columns)
        widths = self._natural(rows, has_header=has_header)
        if columns is not None:
            widths = self._fitted(widths, columns)
        return [self._line(row, widths) for row in ([head] if has_header else []) + rows]

    def _natural(self, rows: Sequence[tuple[Span, ...]], *, has_header: bool) -> list[int]:
        titles = [len(column.title) if has_header else 0 for column in self.columns]
        return [max([title, *(width(row[at].text) for row in rows)]) for at, title in enumerate(titles)]

    def _fitted(self, widths: list[int], columns: int) -> list[int]:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns
        fitted = list(widths)
        while excess > 0:
            able = [at for at, column in enumerate(self.columns) if column.can_shrink and fitted[at] > _NARROWEST]
            if not able:
                break
            fitted[max(able, key=fitted.__getitem__)] -= 1
            excess -= 1
        return fitted

    def _line(self, row: tuple[Span, ...], widths: list[int]) -> Line:
        spans: list[Span] = []
        for at, (column, cell) in enumerate(zip(self.columns, row, strict=True)):
            text = shorten(cell.text, widths[at]) if column.can_shrink else cell.text
            padding = " " * (widths[at] - width(text))
            is_last = at == len(row) - 1
            before = padding if column.is_number else ""
            after = "" if column.is_number or is_last else padding
            spans += [Span(before), Span(text, cell.style), Span(after + ("" if is_last else _GAP))]
        return tuple(span for span in spans if span.text)
