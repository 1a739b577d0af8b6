"""The admin's front page: what runs, what failed, the load, the disk, and whether anybody is at work."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from monitoring.loads import trend
from monitoring.models import ResourceSample
from monitoring.row_counts import counted
from monitoring.upkeep import sample_interval
from tasks.admin.show import BADGES, duration, size
from tasks.execution.spool import bytes_on_disk
from tasks.models import Run, Status, Task, TaskCount
from tasks.queue import HOST_ALIVE, hosts_alive
from tasks.selectors import agents_in_flight, run_state

SHOWN = 10
SPOOL_FOR = 60
"""Seconds for which one walk through the spool directories serves all pages."""


CHART_OPTIONS = {
    "animation": False,
    "maintainAspectRatio": False,
    "pointRadius": 0,
    "borderWidth": 2,
    "interaction": {"mode": "index", "intersect": False},
    "plugins": {"legend": {"display": True, "align": "end", "labels": {"boxHeight": 1, "color": "#6b7280"}}},
    "scales": {
        "x": {"ticks": {"maxTicksLimit": 8, "color": "#6b7280"}, "grid": {"display": False}},
        "y": {
            "min": 0,
            "max": 100,
            "ticks": {"stepSize": 25, "color": "#6b7280"},
            "border": {"display": False},
        },
    },
}
"""Of Chart.js; the grey is readable on both themes."""


def front_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds what the front page shows to those who may see tasks."""
    if not request.user.has_perm("tasks.view_task"):
        return context
    now = timezone.now()
    running = agents_in_flight()
    failed = Task.objects.filter(status=Status.FAILED, completed_at__gte=now - timedelta(days=1))
    points = trend(now - timedelta(hours=1), now)
    return context | {
        "front": True,
        "warnings": _warnings(),
        "running": [_agent(run) for run in running[:SHOWN]],
        "failed": list(failed.order_by("-completed_at")[:SHOWN]),
        "figures": [
            ("Agents running", len(running)),
            ("Tasks pending", counted(TaskCount.objects.filter(status=Status.PENDING))),
            ("Failed in the last day", failed.count()),
            ("Spool on this host", size(_spool_size())),
            ("Database", size(_database_size())),
        ],
        "load_options": json.dumps(CHART_OPTIONS),
        "load": json.dumps(_chart(points)) if points else "",
    }


def _agent(run: Run) -> dict[str, Any]:
    word = run_state(run)[0]
    return {
        "run": run,
        "word": word,
        "badge": BADGES.get(word, "default"),
        "took": duration(run.started_at or run.created_at, None),
    }


def _chart(points: Any) -> dict[str, Any]:
    return {
        "labels": [point.at.strftime("%H:%M") for point in points],
        "datasets": [
            {"label": "CPU %", "data": [round(p.cpu_percent, 1) for p in points], "borderColor": "#5b7cf0"},
            {
                "label": "Memory %",
                "data": [round(p.memory_percent, 1) for p in points],
                "borderColor": "#b962bb",
            },
        ],
    }


def _warnings() -> list[str]:
    now = timezone.now()
    if not hosts_alive().exists():
        seconds = int(HOST_ALIVE.total_seconds())
        return [f"No worker has been heard from for {seconds} s: no task is started. Run `manage.py serve`."]
    # Hosts take a sample when beat tells them to: live hosts without samples mean that beat is silent.
    patience = timedelta(seconds=max(60.0, 3 * sample_interval()))
    if not ResourceSample.objects.filter(stamp__gte=int((now - patience).timestamp())).exists():
        return [
            f"Beat has not been heard from for {int(patience.total_seconds())} s: nothing periodic is done."
        ]
    return []


def _spool_size() -> int:
    found = cache.get_or_set("admin-spool-size", lambda: bytes_on_disk(settings.RUNS_DIR), SPOOL_FOR)
    return int(found or 0)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _database_size() -> int:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
    name = str(connection.settings_dict["NAME"])
    return sum(_size(Path(name + suffix)) for suffix in ("", "-wal"))
