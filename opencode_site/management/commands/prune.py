"""`manage.py prune`: takes away what is older, or more, than it is to be kept."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from monitoring import upkeep
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from tasks import retention
from tasks.execution.spool import Trimmed, trim_spool
from tasks.retention import Pruned

NAMES = {"logs": "log entries", "samples": "samples", "tasks": "finished tasks"}


class Command(command.Command):
    help = """
        Takes away log entries, samples and finished tasks that are older, or more, than the admin's page
        "Upkeep" says, and of this host's spool what belongs to no run or is too much. The server does it
        every hour by itself; this does it now, in small steps that keep nobody waiting, also beside it.
        Interrupted, it has done what it said, and the next one goes on.
        """
    usage = "[--dry-run] [--json]"
    examples = (
        ("prune --dry-run", "what would go, and why"),
        ("prune", "take it away, with the progress of it"),
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what would go")
        parser.add_argument("--json", action="store_true", help="the numbers as a JSON object")

    def work(self, options: dict[str, Any]) -> ExitCode:
        dry_run = options["dry_run"]
        pruned = retention.would_prune() if dry_run else self._prune()
        spool = trim_spool(dry_run=dry_run)
        if options["json"]:
            numbers = {name: getattr(pruned, name) for name in NAMES}
            self.write_json({**numbers, "spool": spool.directories, "spool_bytes": spool.bytes})
        else:
            self.out.print(_table(pruned, spool, dry_run=dry_run))
        return ExitCode.DONE

    def _prune(self) -> Pruned:
        if not self.err.is_terminal:
            return retention.prune()
        due = retention.would_prune()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.err, transient=True) as progress:
            bars = {name: progress.add_task(NAMES[name], total=getattr(due, name)) for name in NAMES}
            return retention.prune(told=lambda name, more: progress.advance(bars[name], more))


def _table(pruned: Pruned, spool: Trimmed, *, dry_run: bool) -> Table:
    kept = upkeep.current()
    table = Table(box=None, pad_edge=False)
    table.add_column("would go" if dry_run else "gone", justify="right")
    table.add_column("of")
    table.add_column("kept")
    for name in NAMES:
        bounds = _bounds(getattr(kept, f"keep_{name}_days"), getattr(kept, f"keep_{name}_max"))
        table.add_row(f"{getattr(pruned, name):,}", NAMES[name], bounds)
    most = kept.keep_spool_mb
    room = "as long as their run" if most is None else f"as long as their run, {most:,} MiB at most"
    table.add_row(f"{spool.directories:,}", f"spool directories, {decimal(spool.bytes)}", room)
    return table


def _bounds(days: int | None, most: int | None) -> str:
    bounds = [f"{days:,} days"] if days is not None else []
    bounds += [f"{most:,} at most"] if most is not None else []
    return ", ".join(bounds) or "for ever"
