"""One look at this host: its load, its agents and what our runs use, stored and told to subscribers."""

from __future__ import annotations

import threading
import time

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from monitoring.sampling import store_sample
from monitoring.upkeep import sample_interval
from processes.load import LoadMeter
from processes.models import SeenAgent
from processes.services import record_sightings
from tasks import inventory
from tasks.events import AgentRecord, foreign_agent, publish_agents, run_agent
from tasks.models import Run
from tasks.selectors import run_state, runs_in_flight

EARLY = 0.1
"""Part of the interval by which a tick may come too soon."""


class Pace:
    """Lets one tick of each interval pass, however many there are: every host's beat ticks for all hosts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0.0

    def passes(self, now: float, interval: float) -> bool:
        """Whether the tick at `now` is the one of its interval; both in seconds, by a monotonic clock."""
        with self._lock:
            # The interval may have become shorter since.
            self._due = min(self._due, now + interval)
            if now < self._due - EARLY * interval:
                return False
            late = now - self._due
            self._due = (self._due if late < interval else now) + interval
            return True


_meter = LoadMeter(settings.DATA_DIR)
_lock = threading.Lock()
_pace = Pace()


def observe_in_turn() -> None:
    """Samples this host if a sample is due."""
    if _pace.passes(time.monotonic(), sample_interval()):
        observe()


def observe() -> None:
    """Samples this host. The percentages cover the time since the last sample of this process."""
    with _lock:
        load = _meter.measure()
        seen = inventory.look(fresh=0.0)
    if load is None:
        return
    host = settings.HOSTNAME
    agents = seen.agents
    with transaction.atomic():
        store_sample(host, load, agent_processes=len(agents))
        before = set(SeenAgent.objects.filter(host=host, gone=False, task_id="").values_list("pk", flat=True))
        record_sightings(host, agents)
        present = list(SeenAgent.objects.filter(host=host, gone=False, task_id=""))
        left = SeenAgent.objects.filter(pk__in=before - {each.pk for each in present}, task_id="")
        publish_agents(
            [
                *(_measured(run, seen) for run in runs_in_flight(host)),
                *(foreign_agent(each) for each in present),
                *(foreign_agent(each, status="ended") for each in left),
            ]
        )


def _measured(run: Run, seen: inventory.Inventory) -> AgentRecord:
    """The run as an agent, with what all its processes use together."""
    family = [
        info for info in seen.processes if (owner := seen.owners.get(info.pid)) and owner.run_id == run.pk
    ]
    run.memory_usage = sum(info.memory_rss for info in family)
    run.cpu_percent = sum(info.cpu_percent for info in family)
    run.measured_at = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        memory_usage=run.memory_usage, cpu_percent=run.cpu_percent, measured_at=run.measured_at
    )
    return run_agent(run, status=run_state(run)[0])
