"""What was measured, held against its target; the table and its JSON."""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table: the median of the samples and what it should be."""

    what: str
    sign: str
    """One of `COMPARE`."""
    target: float
    unit: str = ""
    samples: Sequence[float] = ()
    note: str = ""
    """The figures behind a ratio, or why there is none."""

    @property
    def measured(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    @property
    def met(self) -> bool:
        """A target that could not be measured is not met."""
        return self.measured is not None and COMPARE[self.sign](self.measured, self.target)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "target": f"{self.sign} {self.target:g} {self.unit}".strip(),
            "measured": self.measured,
            "unit": self.unit,
            "met": self.met,
            "samples": [float(f"{sample:.6g}") for sample in self.samples],
            "note": self.note,
        }


def figure(value: float | None) -> str:
    """A number as one reads it."""
    if value is None:
        return "–"
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def percentiles(
    what: str, rounds: Sequence[Sequence[float]], limits: dict[int, float], *, note: str
) -> Iterator[Result]:
    """A line for each percent in `limits`, with what it must stay below in milliseconds."""
    for percent, limit in limits.items():
        yield Result(
            what=f"{what}, p{percent}",
            sign="<",
            target=limit,
            unit="ms",
            samples=[percentile(each, percent) for each in rounds],
            note=note,
        )


def show(results: Sequence[Result], console: Console) -> None:
    """Prints the table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("what", "target", "median", "", "measured as"):
        table.add_column(title, overflow="fold")
    for result in results:
        unit = f" {result.unit}" if result.unit else ""
        table.add_row(
            result.what,
            f"{result.sign} {figure(result.target)}{unit}",
            f"{figure(result.measured)}{unit}",
            "[green]met[/]" if result.met else "[red]missed[/]",
            result.note,
        )
    console.print(table)


def write(path: Path, results: Sequence[Result], *, seconds: float) -> None:
    """Writes everything that was measured, for a machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 1),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "results": [result.as_json() for result in results],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
