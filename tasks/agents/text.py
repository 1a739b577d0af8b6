"""Foreign text made fit to be stored and shown: no escapes, no control characters, a bound on everything."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

MESSAGE_LIMIT: Final = 8_192
"""Characters of a log line's message."""
DETAIL_LIMIT: Final = 32_768
"""Characters of any one string in a log line's details."""
DETAILS_LIMIT: Final = 131_072
"""Characters of all strings in one log line's details together."""
ITEMS_LIMIT: Final = 200
"""Members of one object or list in the details."""
DEPTH_LIMIT: Final = 12
"""Levels of objects and lists in the details."""
KEY_LIMIT: Final = 256
"""Characters of a key in the details."""

_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*+(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*+[0-~]"  # all others, and the beginning of one that does not end
)
_NEWLINE: Final = re.compile(r"\r\n?")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_SAFE_INTEGER: Final = 2**53


def strip_ansi(text: str) -> str:
    """Removes terminal escapes and control characters, but for newline and tab.

    A carriage return becomes a newline, so that the states of a progress bar do not run into each other. NUL,
    which PostgreSQL refuses, goes too; lone surrogates, which cannot be encoded, become U+FFFD.
    """
    if not text.isprintable():
        text = _NEWLINE.sub("\n", _ESCAPE.sub("", text))
        text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))
    return text


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of `text`; where something is left out, the end says so."""
    if len(text) <= limit:
        return text
    note = f"… [clipped, {len(text)} characters in all]"
    return (text[: max(0, limit - len(note))] + note)[:limit]


def one_line(text: str, limit: int) -> str:
    """The first line that says something, cleaned, with an ellipsis where it is cut or more follow."""
    lines = [line.strip() for line in strip_ansi(text).split("\n") if line.strip()]
    if not lines:
        return ""
    first = lines[0]
    if len(first) > limit:
        return first[: limit - 1] + "…"
    return f"{first} …" if len(lines) > 1 else first


def clean_details(details: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A copy, within the limits, that every database and encoder takes; and whether something was clipped."""
    cleaner = _Cleaner(left=DETAILS_LIMIT)
    return cleaner.members(details, depth=0), cleaner.clipped


@dataclass(slots=True)
class _Cleaner:
    """Copies nested values until `left` characters are used up."""

    left: int
    clipped: bool = False

    def members(self, value: dict[Any, Any], *, depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, member in value.items():
            if self._full(len(kept)):
                break
            kept[self._text(str(key), KEY_LIMIT)] = self._any(member, depth=depth + 1)
        return kept

    def _items(self, value: list[Any] | tuple[Any, ...], *, depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in value:
            if self._full(len(kept)):
                break
            kept.append(self._any(item, depth=depth + 1))
        return kept

    def _full(self, members: int) -> bool:
        full = members >= ITEMS_LIMIT or self.left <= 0
        self.clipped = self.clipped or full
        return full

    def _any(self, value: object, *, depth: int) -> Any:
        self.left -= 1  # so that a heap of small values is bounded as well
        match value:
            case None | bool():
                return value
            case str():
                return self._text(value, DETAIL_LIMIT)
            case int():
                # Larger ones are refused by some encoders and rounded by every browser.
                return value if abs(value) <= _SAFE_INTEGER else f"{value:#x}"
            case float():
                return value if math.isfinite(value) else str(value)
            case dict() | list() | tuple() if depth >= DEPTH_LIMIT:
                self.clipped = True
                return "…"
            case dict():
                return self.members(value, depth=depth)
            case list() | tuple():
                return self._items(value, depth=depth)
        return self._text(str(value), DETAIL_LIMIT)

    def _text(self, text: str, limit: int) -> str:
        cleaned = strip_ansi(text)
        kept = clip(cleaned, max(1, min(limit, self.left)))
        self.clipped = self.clipped or kept != cleaned
        self.left -= len(kept)
        return kept
