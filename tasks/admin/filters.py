"""The filters of the list of tasks that are more than a column's choices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter

from tasks.agents import AGENTS
from tasks.models import Host, Run, Task

MANY = 200
"""Types that are offered in a list."""
AGES = {
    "hour": ("created in the last hour", timedelta(hours=1)),
    "day": ("created in the last day", timedelta(days=1)),
    "week": ("created in the last week", timedelta(weeks=1)),
    "month": ("created in the last 30 days", timedelta(days=30)),
}


class TypeFilter(DropdownFilter):  # type: ignore[misc]
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        types = Task.objects.order_by("type").values_list("type", flat=True).distinct()[:MANY]
        return [(name, name) for name in types]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        return queryset.filter(type=self.value()) if self.value() else queryset


class AgentFilter(DropdownFilter):  # type: ignore[misc]
    title = "agent"
    parameter_name = "agent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in AGENTS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        return queryset.filter(agent=self.value()) if self.value() else queryset


class HostFilter(DropdownFilter):  # type: ignore[misc]
    title = "host"
    parameter_name = "host"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Host.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        if not self.value():
            return queryset
        return queryset.filter(Exists(Run.objects.filter(task=OuterRef("pk"), host=self.value())))


class AgeFilter(DropdownFilter):  # type: ignore[misc]
    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, label) for key, (label, _) in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        if self.value() not in AGES:
            return queryset
        return queryset.filter(created_at__gte=timezone.now() - AGES[self.value()][1])
