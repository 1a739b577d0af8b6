"""What happened, in the admin: log entries and samples, read page by page without ever counting them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from monitoring.models import Level, LogEntry, ResourceSample, Upkeep
from monitoring.upkeep import schedule_sampling
from processes.admin import History, TimeRangeFilter

SHOWN = 200
"""Characters of a message in a list."""


def _of_some_time(request: HttpRequest) -> bool:
    return bool(request.GET.get("time_from_0") or request.GET.get("time_to_0"))


class LevelFilter(ChoicesDropdownFilter):  # type: ignore[misc]
    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        """Of some time, all other levels are left out: SQLite then goes by the time, not by the level."""
        wanted = self.value()
        if not (wanted and _of_some_time(request)):
            found: QuerySet[LogEntry] = super().queryset(request, queryset)
            return found
        return queryset.exclude(level__in=[level for level in Level if level != wanted])


@admin.register(LogEntry)
class LogEntryAdmin(History):
    list_display = ("time", "level_badge", "agent", "text")
    list_filter = (("level", LevelFilter), ("time", TimeRangeFilter))
    # Exact, so that an index answers however many rows there are.
    search_fields = ("agent__exact",)
    search_help_text = "The whole id of a task"
    sortable_by = ()

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Each finds its page by an index: entries of some time would be far from the newest ids.
        return ("-time", "-id") if _of_some_time(request) else ("-id",)

    @display(
        description="level", label={"debug": "default", "info": "info", "warn": "warning", "error": "danger"}
    )
    def level_badge(self, obj: LogEntry) -> str:
        return obj.level

    @display(description="message")
    def text(self, obj: LogEntry) -> str:
        return obj.message[:SHOWN]


@admin.register(Upkeep)
class UpkeepAdmin(ModelAdmin):  # type: ignore[misc]
    """One row: the list leads to it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        return redirect("admin:monitoring_upkeep_change", 1)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        Upkeep.objects.get_or_create(pk=1)
        return super().get_object(request, object_id, from_field)

    def save_model(self, request: HttpRequest, obj: Upkeep, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        schedule_sampling()


@admin.register(ResourceSample)
class ResourceSampleAdmin(History):
    list_display = ("at", "host", "cpu_percent", "memory_percent", "disk_percent", "load1", "agent_processes")
    list_filter = (("at", TimeRangeFilter),)
    search_fields = ("host__exact",)
    search_help_text = "The name of a host"
    ordering = ("-id",)
    sortable_by = ()
