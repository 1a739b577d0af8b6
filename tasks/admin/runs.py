"""Runs in the admin: what came of each, and its log, live while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from monitoring.models import Level, LogEntry
from processes.admin import History, TimeRangeFilter
from tasks.admin.show import BADGES, dollars, duration, size
from tasks.failures import FailureReason, explain
from tasks.models import Run, RunState
from tasks.selectors import run_state

PAGE = 500
"""Log entries in one answer."""


def outcome(run: Run) -> str:
    """What the run is doing, or what came of it."""
    return run.outcome or run_state(run)[0]


def why_failed(run: Run) -> str:
    """In plain words, with what to do about it; empty if it did not fail."""
    if not run.failure_reason:
        return ""
    advice = explain(FailureReason(run.failure_reason))
    return f"{run.failure_detail}\n{advice}" if run.failure_detail not in ("", advice) else advice


def tokens(run: Run) -> int:
    """All that the model has read and written for the run."""
    return (
        run.tokens_input
        + run.tokens_output
        + run.tokens_reasoning
        + run.tokens_cache_read
        + run.tokens_cache_write
    )


@admin.register(Run)
class RunAdmin(History):
    list_display = (
        "task_id",
        "number",
        "state_badge",
        "failure_reason",
        "host",
        "created_at",
        "took",
        "spent",
    )
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("outcome", ChoicesDropdownFilter),
        ("failure_reason", ChoicesDropdownFilter),
        ("created_at", TimeRangeFilter),
    )
    search_fields = ("task__id__exact", "host__exact")
    search_help_text = "The whole id of a task, or the name of a host"
    sortable_by = ()
    fields = (
        *("task", "number", "state_badge", "why", "host", "agent", "model", "created_at", "took"),
        *("tokens_input", "tokens_output", "tokens_reasoning", "tokens_cache_read", "tokens_cache_write"),
        *("cost", "memory", "cpu_seconds", "exit_code", "exit_signal", "agent_pid", "session_id"),
    )
    change_form_outer_before_template = "admin/tasks/run_log.html"

    @display(description="outcome", label=BADGES)
    def state_badge(self, obj: Run) -> str:
        return outcome(obj)

    @display(description="why it failed")
    def why(self, obj: Run) -> str:
        return why_failed(obj) or "–"

    @display
    def took(self, obj: Run) -> str:
        return duration(obj.started_at or obj.created_at, obj.ended_at)

    @display(description="cost")
    def spent(self, obj: Run) -> str:
        return dollars(obj.cost)

    @display(description="peak memory")
    def memory(self, obj: Run) -> str:
        return size(obj.peak_memory)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        live = run is not None and run.state != RunState.ENDED
        context = {"log_run": run, "log_live": live, **(extra_context or {})}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:pk>/log.json", wrap(self.log_view), name="tasks_run_log"),
            path("<uuid:pk>/log.txt", wrap(self.download_view), name="tasks_run_download"),
        ]
        return [*own, *super().get_urls()]

    def log_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Entries after or before an id, oldest first, and what the run is doing."""
        # Read before the entries: whoever sees the end has then been given the last line.
        run = self._viewed(request, pk)
        entries = _entries(run, request.GET.get("level", ""))
        try:
            after, before = (int(request.GET.get(name) or 0) for name in ("after", "before"))
        except ValueError:
            return JsonResponse(
                {"error": "after and before are ids of log entries: whole numbers"}, status=400
            )
        if after:
            page = list(entries.filter(pk__gt=after).order_by("id")[:PAGE])
        else:
            older = entries.filter(pk__lt=before) if before else entries
            page = list(older.order_by("-id")[:PAGE])[::-1]
        return JsonResponse(
            {
                "state": outcome(run),
                "ended": run.state == RunState.ENDED,
                "full": len(page) == PAGE,
                "entries": [
                    {"id": e.pk, "time": e.time.isoformat(), "level": e.level, "message": e.message}
                    for e in page
                ],
            }
        )

    def download_view(self, request: HttpRequest, pk: UUID) -> StreamingHttpResponse:
        """The whole log as a text file, streamed."""
        run = self._viewed(request, pk)
        lines = _lines(_entries(run, request.GET.get("level", "")))
        response = StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.log"'
        return response

    def _viewed(self, request: HttpRequest, pk: UUID) -> Run:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Run, pk=pk)


def _entries(run: Run, level: str) -> QuerySet[LogEntry]:
    """The run's entries of at least the level; all of them for one that is not known."""
    entries = LogEntry.objects.filter(run_id=run.pk)
    if level in Level.values:
        entries = entries.filter(level__in=Level.values[Level.values.index(level) :])
    return entries


def _lines(entries: QuerySet[LogEntry]) -> Iterator[str]:
    for entry in entries.order_by("id").iterator(chunk_size=1000):
        yield f"{entry.time.isoformat()} {entry.level:5} {entry.message}\n"
