"""A host whose disks are nearly full or take no writes starts no new runs, and says so, until they do."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from django.conf import settings

from monitoring import upkeep
from tasks import services
from tasks.models import Host
from tasks.paths import make_spool, try_spool

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
ENOUGH = 1.1
"""Times the bound at which a paused host goes on, so that it does not waver with every line written."""


def may_start_runs() -> bool:
    """Pauses or resumes this host by what its disks take; returns whether it may start runs."""
    host = settings.HOSTNAME
    paused = Host.objects.filter(pk=host).exclude(paused_because="").exists()
    because = _why_no_writes() or _why_too_full(paused=paused)
    if not because:
        if paused and services.resume_host(host):
            logger.info("new runs are started again")
        return True
    if not paused and services.pause_host(host, because):
        logger.warning("no new runs are started: %s", because)
    return False


def _why_no_writes() -> str:
    try:
        make_spool()
        try_spool()
    except OSError as error:
        return (
            f"The spool directory {settings.RUNS_DIR} cannot be written ({error.strerror or error}). "
            "It goes on by itself as soon as that is mended."
        )
    return ""


def _why_too_full(*, paused: bool) -> str:
    bound = upkeep.current().min_free_mb * MIB
    directory, free = min(free_space(), key=lambda each: each[1])
    if free >= bound * (ENOUGH if paused else 1):
        return ""
    return (
        f"{directory} has {free // MIB} MiB free, less than {bound // MIB} MiB. "
        f"It goes on by itself from {round(bound * ENOUGH) // MIB} MiB: make room, "
        "or change the bound in the admin."
    )


def free_space() -> list[tuple[Path, int]]:
    """Bytes that may be written on the file systems of the database and of the spool."""
    places = (settings.DATA_DIR, settings.RUNS_DIR)
    return [(place, shutil.disk_usage(place).free) for place in places if place.exists()]
