"""Reads what argparse leaves as text; what is wrong is left to the schema and its words."""

from __future__ import annotations

import re

from opencode_site.ws.errors import InvalidValue, quoted
from tasks.agents import AGENTS

UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def whole(text: str | None) -> int | str | None:
    """The number, or the text as it is if it is none."""
    return int(text) if text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


def at_least(text: str, low: int, *, name: str) -> int:
    """Raises `InvalidValue`."""
    value = whole(text)
    if not isinstance(value, int) or value < low:
        expected = f"a whole number of at least {low}"
        raise InvalidValue(
            f"Invalid {name} value: {quoted(text)}. Expected {expected}",
            field=name,
            value=text,
            expected=expected,
        )
    return value


def seconds(text: str, *, most: float, name: str) -> float:
    """A number of seconds from 0 on. Raises `InvalidValue`."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or float(text) > most:
        expected = f"seconds from 0 to {most:g}"
        raise InvalidValue(
            f"Invalid {name} value: {quoted(text)}. Expected {expected}",
            field=name,
            value=text,
            expected=expected,
        )
    return float(text)


def milliseconds(text: str | None) -> int | str | None:
    """`90s`, `10m`, `2h`, `1d`, or a number of milliseconds as in the protocol."""
    told = re.fullmatch(r"([0-9]{1,12})([smhd])", text or "")
    return int(told[1]) * UNITS[told[2]] if told else whole(text)


def known_agent(name: str | None) -> str | None:
    """Raises `InvalidValue`."""
    if name is not None and name not in AGENTS:
        names = list(AGENTS)
        raise InvalidValue(
            f"Invalid agent value: {quoted(name)}. Valid values are: {', '.join(names)}",
            field="agent",
            value=name,
            expected=names,
        )
    return name
