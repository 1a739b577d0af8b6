"""Wake-ups for the workers, after the commit of what they are to look at.

A message carries no truth: whoever is woken reads the database. One that is lost costs a few seconds, until
the periodic sweep of the host looks by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from celery import current_app
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from kombu.exceptions import OperationalError

from tasks.models import Host

logger = logging.getLogger(__name__)

DISPATCH = "tasks.dispatch"
STOP_RUN = "tasks.stop_run"
SWEEP = "tasks.sweep"
OBSERVE_HOSTS = "tasks.observe_hosts"
OBSERVE = "tasks.observe"
MERGE_METRICS = "tasks.merge_metrics"
PRUNE = "tasks.prune"

HOST_ALIVE = timedelta(seconds=30)
"""A host whose worker has not reported for this long is taken to be away."""
EXPIRES = 30.0
"""Seconds after which a wake-up that nobody took is worth nothing: the host's sweep has done its work."""


def host_queue(host: str) -> str:
    """The queue that only this host's worker reads."""
    return f"host.{host}"


def hosts_alive() -> QuerySet[Host]:
    """The hosts whose workers have reported lately."""
    return Host.objects.filter(last_seen_at__gte=timezone.now() - HOST_ALIVE)


def wake_hosts() -> None:
    """After the commit, lets every live agent host look for tasks to start."""
    transaction.on_commit(_wakes.ask)


def ask_hosts_to_observe() -> None:
    """Lets every live agent host take a sample of itself."""
    for name in hosts_alive().values_list("name", flat=True):
        _send(OBSERVE, name)


class _Wakes:
    """The wake-ups of this process, sent by a thread of their own: nobody waits for the broker.

    A host that looks once sees what all of a burst were sent for; each took 4 ms of CPU, there and here.
    """

    PAUSE = 0.02
    """Seconds between a wake-up and the next one, which is for all that were asked for meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = False
        # What it has been given is done before the interpreter ends.
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="wake-ups")

    def ask(self) -> None:
        """Lets every live host look, no later than `PAUSE` from now."""
        with self._lock:
            if self._waiting:
                return
            self._waiting = True
        try:
            hosts = list(hosts_alive().values_list("name", flat=True))
        except BaseException:
            self._waiting = False
            raise
        self._sender.submit(self._wake, hosts)

    def _wake(self, hosts: list[str]) -> None:
        # From here on somebody new may ask: what they have committed may come too late for this one.
        self._waiting = False
        try:
            for host in hosts:
                _send(DISPATCH, host)
        except Exception:
            logger.exception("a wake-up could not be sent; it is left to the sweep of the hosts")
        time.sleep(self.PAUSE)


_wakes = _Wakes()


def wake_to_stop(host: str, run_id: str) -> None:
    """After the commit, lets the run's host carry out the stop that the run's row asks for."""
    transaction.on_commit(lambda: _send(STOP_RUN, host, run_id))


def _send(job: str, host: str, *args: str) -> None:
    try:
        current_app.send_task(job, args=args, queue=host_queue(host), expires=EXPIRES, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("the broker is away, %s is left to the sweep of %s: %s", job, host, error)
