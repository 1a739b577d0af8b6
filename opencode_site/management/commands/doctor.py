"""`manage.py doctor`: is this installation well, and how to mend it if not."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.terminal import line, shown
from opencode_site.doctor import Finding, State, examine

SEEN = 2000
"""Characters of what was seen, and of how to mend it, in a line for a pipe."""
COLOURS = {State.OK: "green", State.WARNING: "yellow", State.ERROR: "bold red"}


class Command(command.Command):
    help = """
        Looks at packages, agents (really run), database, broker, worker, beat, disk, settings and files, and
        says how to mend what is wrong. The server need not run. The exit code is 1 when something is wrong;
        warnings alone are 0.
        """
    usage = "[--json]"
    examples = (
        ("doctor", "everything, one after the other"),
        ("doctor --json | jq -r '.[] | select(.state == \"error\") | .mend'", "for a script"),
    )
    exits = (ExitCode.FAILED,)
    meanings = MappingProxyType({ExitCode.FAILED: "something is wrong; warnings alone are 0"})

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON array instead of lines")

    def work(self, options: dict[str, Any]) -> ExitCode:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not options["json"]:
                _show(self.out, finding)
        if options["json"]:
            self.write_json([dataclasses.asdict(each) for each in findings])
        unwell = any(each.state == State.ERROR for each in findings)
        return ExitCode.FAILED if unwell else ExitCode.DONE


def _show(console: Console, finding: Finding) -> None:
    """A line that a pipe gets whole; on a terminal what is too long goes on below where it began."""
    state = Text(f"{finding.state:<8}", COLOURS[finding.state])
    mend = f"→ {finding.mend}" if finding.mend else ""
    if not console.is_terminal:
        seen = line(finding.seen, limit=SEEN)
        console.print(Text.assemble(state, f"{finding.name:<16}", seen), soft_wrap=True)
        if mend:
            console.print(Text.assemble(" " * 24, line(mend, limit=SEEN)), soft_wrap=True)
        return
    grid = Table.grid()
    for width in (8, 16, None):
        grid.add_column(width=width, overflow="fold")
    grid.add_row(state, finding.name, shown(finding.seen))
    if mend:
        grid.add_row("", "", shown(mend))
    console.print(grid)
