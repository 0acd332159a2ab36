"""Tables of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 140
"""Columns of a table where the output is not a terminal."""


def table_console() -> Console:
    """Standard output for wide tables: a file or a pipe has no width, so that numbers are not cut there."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)
