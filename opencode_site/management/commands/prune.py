"""`manage.py prune`: takes away what is older than it is to be kept."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring import upkeep
from tasks.retention import prune


class Command(BaseCommand):
    help = (
        "Takes away log entries, samples and finished tasks that are older than the admin's page 'Upkeep' "
        "says. The server does it every hour by itself; this does it now, in small steps, also beside it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what would go")

    def handle(self, *args: Any, **options: Any) -> None:
        kept, dry_run = upkeep.current(), options["dry_run"]
        pruned = prune(dry_run=dry_run)
        for name, count, days in (
            ("log entries", pruned.logs, kept.keep_logs_days),
            ("samples", pruned.samples, kept.keep_samples_days),
            ("finished tasks", pruned.tasks, kept.keep_tasks_days),
        ):
            age = "kept for ever" if days is None else f"older than {days} days"
            self.stdout.write(f"{count:>10,} {name} {'would go' if dry_run else 'gone'} ({age})")
