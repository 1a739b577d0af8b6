"""Output for people: in colour on a terminal, plain elsewhere. Foreign text is shown, never obeyed."""

from __future__ import annotations

import re
from typing import IO, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.text import Text

from tasks.agents.text import one_line, strip_ansi

PLAIN_WIDTH = 160
"""Columns of a table that goes into a file or a pipe, where COLUMNS does not say otherwise."""
# They reorder what stands around them: a text could show as another than it is.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")

STATUS_STYLES = {
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "blocked": "magenta",
    "stalled": "yellow",
    "cancelling": "yellow",
}
LEVEL_STYLES = {"debug": "dim", "info": "", "warn": "yellow", "error": "red"}


class Terminal(Console):
    """A console that leaves a broken pipe to the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def terminal(file: IO[str], *, no_color: bool) -> Terminal:
    """A console on `file` that neither reads markup nor guesses at what to colour."""
    if hasattr(file, "reconfigure"):
        # A terminal that has no … still shows the rest.
        file.reconfigure(errors="backslashreplace")
    console = Terminal(file=file, no_color=no_color or None, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in console._environ:
        console.width = PLAIN_WIDTH
    return console


def shown(text: str, style: str = "") -> Text:
    """Foreign text, without what a terminal would obey; line breaks stay."""
    return Text(_BIDI.sub("\ufffd", strip_ansi(text)).expandtabs(4), style=style)


def line(text: str, style: str = "", *, limit: int = 500) -> Text:
    """Foreign text as one line."""
    found = shown(one_line(text, limit), style)
    # A column may take room from it, and it never takes a second line.
    found.no_wrap, found.overflow = True, "ellipsis"
    return found


def status(word: str) -> Text:
    """A status in its colour."""
    return Text(word, style=STATUS_STYLES.get(word, ""))


def unwrapped(file: OutputWrapper) -> IO[str]:
    """What Django's wrapper writes to: rich must be able to write without a line's end."""
    return cast("IO[str]", file._out)
