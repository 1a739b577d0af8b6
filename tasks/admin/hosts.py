"""Hosts and transitions in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import timezone
from unfold.decorators import display

from processes.admin import History
from tasks.models import Host, Transition
from tasks.queue import HOST_ALIVE


@admin.register(Transition)
class TransitionAdmin(History):
    list_display = ("at", "task_id", "old_status", "new_status", "progress")
    search_fields = ("task__id__exact",)
    search_help_text = "The whole id of a task"
    ordering = ("-id",)
    sortable_by = ()


@admin.register(Host)
class HostAdmin(History):
    list_display = ("name", "state", "slots", "paused_because", "last_seen_at", "started_at")

    @display(label={"alive": "success", "silent": "danger"})
    def state(self, obj: Any) -> str:
        return "alive" if obj.last_seen_at >= timezone.now() - HOST_ALIVE else "silent"
