"""The load of a host: stored first, told to subscribers after the commit."""

from __future__ import annotations

from django.utils import timezone

from monitoring.events import Channel, Event, ResourceUpdate, SystemResources
from monitoring.models import ResourceSample
from monitoring.publish import publish
from monitoring.streams import Stream
from processes.load import Load


def store_sample(host: str, load: Load, *, agent_processes: int) -> ResourceSample:
    """Stores what was measured in the current transaction and tells the subscribers of `system_resources`."""
    now = timezone.now()
    after = SAMPLE_STREAM.hold()
    sample = ResourceSample.objects.create(
        host=host,
        at=now,
        stamp=int(now.timestamp()),
        interval=load.interval,
        cpu_percent=load.cpu_percent,
        memory_percent=load.memory_percent,
        memory_used=load.memory_used,
        memory_total=load.memory_total,
        disk_percent=load.disk_percent,
        disk_used=load.disk_used,
        disk_total=load.disk_total,
        bytes_sent=load.bytes_sent,
        bytes_recv=load.bytes_recv,
        packets_sent=load.packets_sent,
        packets_recv=load.packets_recv,
        load1=load.load1,
        load5=load.load5,
        load15=load.load15,
        processes=load.processes,
        agent_processes=agent_processes,
    )
    publish(Channel.SYSTEM_RESOURCES, [sample_event(sample)], after=after)
    return sample


def sample_event(sample: ResourceSample) -> Event:
    """The update message of a sample."""
    update = ResourceUpdate.model_construct(resources=system_resources(sample), cursor=str(sample.pk))
    return Event(id=sample.pk, facts={}, frame=update.frame())


def system_resources(sample: ResourceSample) -> SystemResources:
    """The sample as the protocol shows it."""
    return SystemResources.model_construct(
        host=sample.host,
        cpu_usage=round(sample.cpu_percent, 1),
        memory_usage=round(sample.memory_percent, 1),
        memory_used=sample.memory_used,
        memory_total=sample.memory_total,
        disk_usage=round(sample.disk_percent, 1),
        disk_used=sample.disk_used,
        disk_total=sample.disk_total,
        active_processes=sample.processes,
        claude_processes=sample.agent_processes,
        timestamp=sample.at,
    )


SAMPLE_STREAM = Stream(channel=Channel.SYSTEM_RESOURCES, rows=ResourceSample.objects.all, event=sample_event)
