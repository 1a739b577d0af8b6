"""Schedules in the admin: a template of a task, and when it is to be done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django_celery_beat import models as beat
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from tasks import schedules
from tasks.admin.forms import WorkForm
from tasks.admin.show import time_limit
from tasks.errors import TaskError
from tasks.models import Schedule, Turn
from tasks.paths import resolve_working_dir

OUTCOMES = {"submitted": "success", "skipped": "warning", "refused": "danger"}
TURNS_SHOWN = 20

for model in (
    *(beat.CrontabSchedule, beat.IntervalSchedule, beat.PeriodicTask, beat.SolarSchedule),
    beat.ClockedSchedule,
):
    # The server's own jobs are not to be deleted by hand; what is needed of this is registered anew below.
    if admin.site.is_registered(model):
        admin.site.unregister(model)


class Times(ModelAdmin):  # type: ignore[misc]
    """When; what it means for the schedules that use it is reckoned anew with each change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        schedules.reckon_anew(list(obj.schedule_set.select_related("crontab", "interval")))


@admin.register(beat.CrontabSchedule)
class CrontabAdmin(Times):
    list_display = ("__str__", "human_readable")


@admin.register(beat.IntervalSchedule)
class IntervalAdmin(Times):
    list_display = ("__str__",)


class ScheduleForm(WorkForm):
    class Meta:
        model = Schedule
        fields = (
            *("name", "enabled", "crontab", "interval", "overlap", "type", "priority", "description"),
            *("agent", "model", "working_dir", "files_pattern", "max_retries"),
        )
        widgets = {"description": UnfoldAdminTextareaWidget}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        self.instance.timeout_ms = self.timeout_ms()

    def clean_working_dir(self) -> str:
        directory: str = self.cleaned_data["working_dir"]
        if not directory:
            return ""
        try:
            return str(resolve_working_dir(directory))
        except TaskError as error:
            raise forms.ValidationError(error.message) from error


class Turns(TabularInline):  # type: ignore[misc]
    """What came of the last turns, which the pages call runs."""

    model = Turn
    fields = readonly_fields = ("planned_at", "result", "task_id", "asked_by")
    verbose_name_plural = f"last {TURNS_SHOWN} runs"
    tab = False
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        match = request.resolver_match
        newest = Turn.objects.filter(schedule_id=match.kwargs.get("object_id", 0) if match else 0)
        pks = list(newest.values_list("pk", flat=True)[:TURNS_SHOWN])
        found: QuerySet[Turn] = super().get_queryset(request).filter(pk__in=pks)
        return found

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="result")
    def result(self, obj: Turn) -> str:
        return f"{obj.outcome}: {obj.detail}" if obj.detail else obj.outcome


@admin.register(Schedule)
class ScheduleAdmin(ModelAdmin):  # type: ignore[misc]
    form = ScheduleForm
    list_display = ("name", "enabled", "times", "next_turn", "last_turn", "overlap")
    list_filter = (("enabled", BooleanRadioFilter), ("overlap", ChoicesDropdownFilter))
    list_filter_submit = True
    list_select_related = ("crontab", "interval")
    search_fields = ("name", "description")
    readonly_fields = ("next_turns",)
    actions = ("take_turn_now", "enable", "disable")
    inlines = (Turns,)
    fieldsets = (
        (None, {"fields": ("name", "enabled", "crontab", "interval", "overlap", "next_turns")}),
        ("The task", {"fields": ("type", "priority", "description", "agent", "model", "working_dir")}),
        ("More", {"fields": ("files_pattern", "minutes", "max_retries")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        newest = Turn.objects.filter(schedule=OuterRef("pk")).values("outcome")[:1]
        found: QuerySet[Schedule] = super().get_queryset(request).annotate(last_outcome=Subquery(newest))
        return found

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        if change and not {"enabled", "crontab", "interval"} & set(form.changed_data):
            obj.save()
            return
        schedules.save(obj)

    @display(description="when")
    def times(self, obj: Schedule) -> str:
        if obj.crontab is not None:
            return f"{obj.crontab.human_readable} ({obj.crontab.timezone})"
        return str(obj.interval)

    @display(description="next run", ordering="next_at")
    def next_turn(self, obj: Schedule) -> str:
        turns = schedules.upcoming(obj, 1)
        return _moment(turns[0]) if turns else "–"

    @display(description="last run", label=OUTCOMES)
    def last_turn(self, obj: Any) -> str:
        return obj.last_outcome or "–"

    @display(description="next runs")
    def next_turns(self, obj: Schedule) -> str:
        if not obj.pk:
            return "Shown once it is saved."
        turns = [(_moment(turn),) for turn in schedules.upcoming(obj)]
        if not turns:
            return "None while it is not enabled."
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", turns))

    @display(description="Time limit")
    def minutes(self, obj: Schedule) -> str:
        return time_limit(obj.timeout_ms)

    @admin.action(description="Run now", permissions=["change"])
    def take_turn_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset.select_related("crontab", "interval"):
            turn = schedules.take_turn_now(schedule, request.user.get_username())
            said = f"{schedule.name}: {turn.outcome}. {turn.detail or turn.task_id}"
            level = messages.SUCCESS if turn.task_id else messages.WARNING
            messages.add_message(request, level, said)
            self.log_change(request, schedule, f"Ran by hand: {turn.outcome}")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Schedule], *, on: bool) -> None:
        for schedule in queryset.filter(enabled=not on).select_related("crontab", "interval"):
            schedule.enabled = on
            schedules.save(schedule)
            self.log_change(request, schedule, "Enabled." if on else "Disabled.")


def _moment(turn: datetime) -> str:
    return f"{turn:%a %Y-%m-%d %H:%M:%S %Z}"
