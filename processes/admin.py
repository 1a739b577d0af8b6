"""The account of processes in the admin, and what all pages of history have in common."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from processes.models import Kill


class History(ModelAdmin):  # type: ignore[misc]
    """Rows that the server writes: whoever may view them may look, nobody may change them by hand.

    Nothing is counted: there may be tens of millions of them.
    """

    paginator = InfinitePaginator
    show_full_result_count = False
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
    list_filter = (("outcome", ChoicesDropdownFilter), ("asked_at", RangeDateTimeFilter))
    search_fields = ("task_id__exact", "asked_by__exact")
    search_help_text = "A task's id, or who asked"

    @display(description="outcome", label={"ended": "success", "failed": "danger", "refused": "warning"})
    def outcome_badge(self, obj: Kill) -> str:
        return obj.outcome
