"""A table where it fits on the terminal, else a paragraph for each row: a path cut into syllables helps nobody."""

import shutil
import sys
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elysia_dagster.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2
"""Columns of the terminal between two columns of a table."""


@dataclass(kw_only=True)
class Listing:
    """Rows of cells under ``names``; a name that ends with ``>`` is a column of numbers.

    ``heads`` is how many of the first columns head a row's paragraph.
    """

    names: tuple[str, ...]
    heads: int = 1
    rows: list[tuple[str, ...]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def add(self, *cells: str, style: str = "") -> None:
        """A row; control characters in it are made visible."""
        self.rows.append(tuple(printable(cell) for cell in cells))
        self.styles.append(style)

    def show(self, terminal: Terminal) -> None:
        """Prints it to standard output."""
        from rich.cells import cell_len

        names = [name.rstrip(">") for name in self.names]
        widths = [max(map(cell_len, column)) for column in zip(names, *self.rows, strict=True)]
        room = shutil.get_terminal_size().columns
        if sys.stdout.isatty() and sum(widths) + _GAP * (len(widths) - 1) > room:
            terminal.result("\n".join(self._paragraphs(names, room)))
        else:
            terminal.result_table(self._table(names))

    def _table(self, names: list[str]) -> "Table":
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP, 0, 0), show_edge=False)
        for name, marked in zip(names, self.names, strict=True):
            table.add_column(name, justify="right" if marked.endswith(">") else "left", no_wrap=True)
        for cells, style in zip(self.rows, self.styles, strict=True):
            table.add_row(*cells, style=style)
        return table

    def _paragraphs(self, names: list[str], room: int) -> list[str]:
        lines = []
        for cells in self.rows:
            named = [f"{name} {cell}" if cell else "" for name, cell in zip(names, cells, strict=True)]
            heads = [
                label if name.endswith(">") else cell
                for name, label, cell in zip(self.names, named, cells, strict=True)
            ]
            lines.append("  ".join(filter(None, heads[: self.heads])))
            rest = filter(None, named[self.heads :])
            lines += textwrap.wrap(
                "; ".join(rest),
                room,
                initial_indent="  ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return lines
