"""Adds lines to the log as a worker does: one JSON array `[count, line]` on stdin is one transaction."""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    django.setup()
    from django.db import transaction  # noqa: PLC0415 - only after the set-up

    from monitoring.logbook import record  # noqa: PLC0415
    from monitoring.models import LogEntry  # noqa: PLC0415
    from monitoring.publish import flush  # noqa: PLC0415

    for order in sys.stdin:
        count, line = json.loads(order)
        with transaction.atomic():
            record([LogEntry(**line) for _ in range(count)])
        flush()
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
