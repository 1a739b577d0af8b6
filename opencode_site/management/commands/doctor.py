"""`manage.py doctor`: is this installation well, and how to mend it if not."""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opencode_site.cli.terminal import line, shown, terminal, unwrapped
from opencode_site.doctor import Finding, State, examine

EXIT_UNWELL = 1
SEEN = 2000
"""Characters of what was seen, and of how to mend it, in a line for a pipe."""
COLOURS = {State.OK: "green", State.WARNING: "yellow", State.ERROR: "bold red"}


class Command(BaseCommand):
    help = (
        "Looks at packages, agents (really run), database, broker, worker, beat, disk, settings and files, "
        "and says how to mend what is wrong. The server need not run. Exit code 1: something is wrong; "
        "warnings alone are 0."
    )
    requires_system_checks: list[str] = []
    """They are findings among others."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON array instead of lines")

    def handle(self, *_: Any, **options: Any) -> None:
        findings = []
        console = terminal(unwrapped(self.stdout), no_color=options["no_color"])
        for finding in examine():
            findings.append(finding)
            if not options["json"]:
                _show(console, finding)
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
        if any(each.state == State.ERROR for each in findings):
            sys.exit(EXIT_UNWELL)


def _show(console: Console, finding: Finding) -> None:
    """A line that a pipe gets whole; on a terminal what is too long goes on below where it began."""
    state = Text(f"{finding.state:<8}", COLOURS[finding.state])
    seen, mend = shown(finding.seen), shown(f"→ {finding.mend}" if finding.mend else "")
    if not console.is_terminal:
        seen, mend = line(finding.seen, limit=SEEN), line(mend.plain, limit=SEEN)
        console.print(Text.assemble(state, f"{finding.name:<16}", seen), soft_wrap=True)
        if mend:
            console.print(Text.assemble(" " * 24, mend), soft_wrap=True)
        return
    grid = Table.grid()
    for width in (8, 16, None):
        grid.add_column(width=width, overflow="fold")
    grid.add_row(state, finding.name, seen)
    if mend:
        grid.add_row("", "", mend)
    console.print(grid)
