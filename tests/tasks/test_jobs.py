"""What the schedule brings about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from monitoring import requests
from monitoring.models import LoadPeriod, RequestPeriod
from opencode_site.celery import app
from tasks import jobs
from tests.support.samples import sample


def test_whatever_is_on_the_schedule_is_a_job() -> None:
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= app.tasks.keys()


@pytest.mark.django_db
def test_keeps_small_what_metrics_are_told_from() -> None:
    earlier = timezone.now() - timedelta(hours=5)
    recorder = requests.Recorder()
    recorder.observe("ping", milliseconds=1, size=1)
    recorder.flush()
    RequestPeriod.objects.update(start=earlier)
    sample(earlier).save()
    jobs.merge_metrics()
    assert RequestPeriod.objects.get().seconds == 300
    assert LoadPeriod.objects.get().samples == 1
