"""A host whose disk is nearly full starts no new runs, and says so, until there is room again."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from django.conf import settings

from monitoring import upkeep
from tasks import services
from tasks.models import Host

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
ENOUGH = 1.1
"""Times the bound at which a paused host goes on, so that it does not waver with every line written."""


def heed_free_space() -> bool:
    """Pauses or resumes this host by what its disks have free; returns whether it may start runs."""
    host = settings.HOSTNAME
    bound = upkeep.current().min_free_mb * MIB
    directory, free = min(free_space(), key=lambda each: each[1])
    paused = Host.objects.filter(pk=host).exclude(paused_because="").exists()
    if free >= bound * (ENOUGH if paused else 1):
        if paused and services.resume_host(host):
            logger.info("%s has %d MiB free again: new runs are started", directory, free // MIB)
        return True
    because = (
        f"{directory} has {free // MIB} MiB free, less than {bound // MIB} MiB. "
        f"It goes on by itself from {round(bound * ENOUGH) // MIB} MiB: make room, "
        "or change the bound in the admin."
    )
    if not paused and services.pause_host(host, because):
        logger.warning("no new runs are started: %s", because)
    return False


def free_space() -> list[tuple[Path, int]]:
    """Bytes that may be written on the file systems of the database and of the spool."""
    places = (settings.DATA_DIR, settings.RUNS_DIR)
    return [(place, shutil.disk_usage(place).free) for place in places if place.exists()]
