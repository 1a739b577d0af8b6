"""The account of processes in the admin, and what all pages of history have in common."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.utils import ErrorDict, from_current_timezone
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.contrib.filters.forms import RangeDateTimeForm
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from processes.models import Kill


class TimeRangeForm(RangeDateTimeForm):  # type: ignore[misc]
    """Two moments; what is wrong with them the page says once, and a day without a time is not."""

    def full_clean(self) -> None:
        self._errors = ErrorDict()


class TimeRangeFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From a date and time to another, in the time zone of the pages; a date without a time is the whole day.

    Unfold's own filter compares with times that have no zone, and does nothing where the time is empty.
    """

    form_class = TimeRangeForm

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            edges = {"gte": self._moment("from", time.min), "lte": self._moment("to", time.max)}
        except forms.ValidationError as error:
            messages.error(request, f"Not filtered by time: {' '.join(error.messages)}")
            return queryset
        wanted = {f"{self.field_path}__{edge}": moment for edge, moment in edges.items() if moment}
        return queryset.filter(**wanted)

    def _moment(self, edge: str, usual: time) -> datetime | None:
        day, clock = (self.used_parameters.get(f"{self.field_path}_{edge}_{part}") for part in (0, 1))
        if not day and clock:
            raise forms.ValidationError(f"Choose a date to go with {clock}.")
        date = forms.DateField(required=False).clean(day)
        at = forms.TimeField(required=False).clean(clock)
        return from_current_timezone(datetime.combine(date, at or usual)) if date else None


class History(ModelAdmin):  # type: ignore[misc]
    """Rows that the server writes: whoever may view them may look, nobody may change them by hand.

    Nothing is counted: there may be tens of millions of them.
    """

    paginator = InfinitePaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_filter_submit = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Kill)
class KillAdmin(History):
    list_display = ("asked_at", "signal", "pid", "host", "asked_by", "task_id", "outcome_badge", "detail")
    list_filter = (("outcome", ChoicesDropdownFilter), ("asked_at", TimeRangeFilter))
    search_fields = ("task_id__exact", "asked_by__exact")
    search_help_text = "A task's id, or who asked"

    @display(description="outcome", label={"ended": "success", "failed": "danger", "refused": "warning"})
    def outcome_badge(self, obj: Kill) -> str:
        return obj.outcome
