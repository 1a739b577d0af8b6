"""The Celery application: it wakes hosts up and runs the periodic sweeps; it never holds an agent."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opencode_site.settings")

app = Celery("opencode_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="jobs")
