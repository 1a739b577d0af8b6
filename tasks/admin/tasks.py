"""Tasks in the admin. What the lifecycle refuses is refused here with the same message."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote as unquote_url

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.expressions import CombinedExpression
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from tasks import services
from tasks.admin.export import as_csv, as_json
from tasks.admin.filters import AgeFilter, AgentFilter, HostFilter, TypeFilter
from tasks.admin.forms import TaskForm, proposed_id
from tasks.admin.runs import outcome, tokens, why_failed
from tasks.admin.show import BADGES, dollars, duration, size, time_limit
from tasks.errors import TaskError
from tasks.models import Dependency, Priority, Run, Status, Task
from tasks.selectors import run_summaries, runtime, runtimes, waiting_for, why_not_delete

STOP = "tasks.stop_run"
NEIGHBOURS = 12
"""Tasks of one column of the graph that are shown."""
EDITED = re.compile(r"/tasks/task/([^/]+)/change/")
"""The page that asks for suggestions; Django's own request for them does not tell whom they are for."""
QUESTIONS = {
    "cancel": ("Cancel", "It will not run. If it runs now, its agent and all it started are ended.", True),
    "retry": ("Retry", "It is queued again and runs as soon as there is a free slot.", False),
    "duplicate": ("Duplicate", "A copy is queued under a new id and runs when there is a free slot.", False),
}


class TaskList(ChangeList):
    """The page's tasks, with what each is doing: found together, not one by one."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page = list(self.result_list)
        doing = runtimes(page)
        for task in page:
            task.doing = doing[task.pk]
        self.result_list = page


def _sum_of_runs(column: F | CombinedExpression) -> Subquery:
    runs = Run.objects.filter(task=OuterRef("pk")).order_by().values("task")
    return Subquery(runs.annotate(total=Sum(column)).values("total"))


@admin.register(Task)
class TaskAdmin(ModelAdmin):  # type: ignore[misc]
    form = TaskForm
    list_display = (
        "what",
        "state",
        "type",
        "priority_badge",
        "bar",
        "took",
        "spent",
        "created_at",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("priority", ChoicesDropdownFilter),
        *(TypeFilter, AgentFilter, HostFilter, AgeFilter),
    )
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("id", "description")
    search_help_text = "A part of an id or of a description"
    show_full_result_count = False
    sortable_by = ("created_at", "priority_badge")
    fieldsets = (
        (None, {"fields": ("id", "type", "priority", "description", "waits_for")}),
        (
            "Where and how",
            {"fields": ("agent", "model", "working_dir", "files_pattern", "minutes", "max_retries")},
        ),
    )
    actions = ("retry", "cancel", "high", "medium", "low", "export_json", "export_csv")
    change_form_outer_before_template = "admin/tasks/task.html"
    warn_unsaved_form = True

    class Media:
        js = ("admin_pages/labels.js",)

    # --- The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TaskList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        spent = _sum_of_runs(F("tokens_input") + F("tokens_output") + F("tokens_reasoning"))
        found: QuerySet[Task] = (
            super().get_queryset(request).annotate(tokens=spent, cost=_sum_of_runs(F("cost")))
        )
        return found

    @display(description="status", label=BADGES)
    def state(self, obj: Any) -> str:
        return str(obj.doing[0])

    @display(description="task", ordering="pk")
    def what(self, obj: Any) -> str:
        """The id, and below it why the task waits or has failed."""
        why = str(obj.doing[1]) if obj.status != Status.RUNNING else ""
        return format_html(
            '<span class="oc-id">{}</span><span class="oc-why" title="{}">{}</span>',
            obj.pk,
            why,
            Truncator(why).words(20),
        )

    @display(description="priority", ordering="priority", label={"high": "warning"})
    def priority_badge(self, obj: Task) -> str:
        return Priority(obj.priority).label

    @display(description="progress")
    def bar(self, obj: Task) -> str:
        """Nothing where nothing is known: progress is what the agent's own list of things to do tells."""
        if not obj.progress:
            return "–"
        return format_html(
            '<progress class="oc-bar" max="100" value="{0}" aria-label="Progress of {1}"></progress> {0} %',
            obj.progress,
            obj.pk,
        )

    @display(description="duration")
    def took(self, obj: Task) -> str:
        return duration(obj.started_at, obj.completed_at)

    @display(description="tokens, cost")
    def spent(self, obj: Any) -> str:
        tokens = f"{obj.tokens:,}" if obj.tokens else "–"
        return f"{tokens}, {dollars(obj.cost)}" if obj.cost else tokens

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Where a task is chosen to wait for, those that wait for the edited one already are not offered."""
        found, many = super().get_search_results(request, queryset, search_term)
        edited = EDITED.search(request.headers.get("Referer", ""))
        if edited and request.path.endswith("/autocomplete/"):
            task_id = unquote(unquote_url(edited[1]))
            found = found.exclude(pk__in={task_id, *waiting_for(task_id)})
        return found, many

    # --- What may be done

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.status == Status.PENDING)

    @admin.action(description="Start again", permissions=["change"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._each(request, queryset, services.retry, "Queued again.")

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._each(request, queryset, lambda task_id: self._cancel(request, task_id), "Cancelled.")

    @admin.action(description="Priority: high", permissions=["change"])
    def high(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._move(request, queryset, Priority.HIGH)

    @admin.action(description="Priority: medium", permissions=["change"])
    def medium(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._move(request, queryset, Priority.MEDIUM)

    @admin.action(description="Priority: low", permissions=["change"])
    def low(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._move(request, queryset, Priority.LOW)

    @admin.action(description="Export as JSON", permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse:
        return as_json(queryset)  # type: ignore[return-value]

    @admin.action(description="Export as CSV", permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse:
        return as_csv(queryset)  # type: ignore[return-value]

    def _move(self, request: HttpRequest, queryset: QuerySet[Task], priority: Priority) -> None:
        done = f"Priority changed to {priority.label}."
        self._each(request, queryset, lambda task_id: services.change_priority(task_id, priority), done)

    def _cancel(self, request: HttpRequest, task_id: str) -> Task:
        running = Task.objects.filter(pk=task_id).exclude(status=Status.PENDING).exists()
        if running and not request.user.has_perm(STOP):
            raise TaskError(f"You may not stop agents: '{task_id}' is left as it is", task_id=task_id)
        return services.cancel(task_id)

    def _each(
        self, request: HttpRequest, tasks: QuerySet[Task], change: Callable[[str], object], done: str
    ) -> None:
        count = 0
        for task_id in list(tasks.order_by().values_list("pk", flat=True)):
            count += self._try(request, task_id, change, done)
        if count:
            messages.success(request, f"{done} ({count} task{'s' if count != 1 else ''})")

    def _try(self, request: HttpRequest, task_id: str, change: Callable[[str], object], done: str) -> bool:
        try:
            change(task_id)
        except TaskError as error:
            messages.error(request, error.message)
            return False
        self.log_change(request, Task(pk=task_id), done)
        return True

    # --- One task

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"id": proposed_id(), "agent": "opencode", **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Task, form: Any, change: bool) -> None:
        """The form has been carried out by the lifecycle when it was found valid."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Its dependencies too."""

    @display(description="Time limit")
    def minutes(self, obj: Task) -> str:
        return time_limit(obj.timeout_ms)

    @display(description="Waits for")
    def waits_for(self, obj: Task) -> str:
        return ", ".join(obj.needs.values_list("needs_id", flat=True)) or "–"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        task = self.get_object(request, unquote(object_id))
        if (
            request.method == "POST"
            and task
            and task.status != Status.PENDING
            and super().has_change_permission(request)
        ):
            # Its form was opened while it was still pending; the browser keeps what was typed there.
            messages.error(
                request,
                f"Task '{task.pk}' is {task.status} by now and cannot be edited: nothing was changed. "
                "Go back to see what you typed; a duplicate takes it.",
            )
            return redirect("admin:tasks_task_change", quote(task.pk))
        about = self._about(request, task) if task else {}
        context = {**(extra_context or {}), **about}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def _about(self, request: HttpRequest, task: Task) -> dict[str, Any]:
        word, why = runtime(task)
        runs = run_summaries(task)
        unfinished = task.status in (Status.PENDING, Status.RUNNING)
        may_change = request.user.has_perm("tasks.change_task")
        may_view_runs = request.user.has_perm("tasks.view_run")
        may_stop = task.status == Status.PENDING or request.user.has_perm(STOP)
        return {
            "doing": word,
            "doing_badge": BADGES.get(word, "default"),
            "doing_why": why,
            "before": _neighbours(Dependency.objects.filter(task=task), "needs"),
            "after": _neighbours(Dependency.objects.filter(needs=task), "task"),
            "runs": [_run_row(run) for run in runs],
            "log_run": runs[0] if runs and may_view_runs else None,
            # By the task as the page shows it: its run may have ended since that was read.
            "log_live": task.status == Status.RUNNING,
            "may_view_runs": may_view_runs,
            "deeds": [
                *(["cancel"] if unfinished and may_change and may_stop else []),
                *(["retry"] if task.status in (Status.FAILED, Status.CANCELLED) and may_change else []),
                *(["duplicate"] if request.user.has_perm("tasks.add_task") else []),
            ],
        }

    # --- Deeds that ask first

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.deed_view)
        own = [
            path(f"<path:object_id>/{deed}/", view, {"deed": deed}, name=f"tasks_task_{deed}")
            for deed in QUESTIONS
        ]
        return [*own, *super().get_urls()]

    def deed_view(self, request: HttpRequest, object_id: str, deed: str) -> HttpResponse:
        """Asks, and on POST cancels, retries or duplicates the task."""
        needed = "tasks.add_task" if deed == "duplicate" else "tasks.change_task"
        if not request.user.has_perm(needed):
            raise PermissionDenied
        task = self.get_object(request, unquote(object_id))
        if task is None:
            raise Http404(f"Task with ID '{object_id}' not found")
        page = reverse("admin:tasks_task_change", args=[quote(task.pk)])
        verb, question, danger = QUESTIONS[deed]
        if request.method == "POST":
            return redirect(self._do(request, task, deed, page))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb} {task.pk}?",
            "question": question,
            "facts": [("Status", task.status), ("Description", task.description[:500])],
            "go": f"{verb} the task",
            "stay": page,
            "danger": danger,
        }
        return render(request, "admin/confirm.html", context)

    def _do(self, request: HttpRequest, task: Task, deed: str, page: str) -> str:
        if deed == "duplicate":
            copy_id = proposed_id()
            if self._try(
                request, task.pk, lambda one: services.duplicate(one, copy_id), f"Duplicated as {copy_id}."
            ):
                self.log_addition(request, Task(pk=copy_id), f"Duplicated from {task.pk}.")
                messages.success(request, f"'{copy_id}' is queued.")
                return reverse("admin:tasks_task_change", args=[copy_id])
        elif deed == "retry":
            if self._try(request, task.pk, services.retry, "Queued again."):
                messages.success(request, f"'{task.pk}' is queued again.")
        elif self._try(request, task.pk, lambda one: self._cancel(request, one), "Cancelled."):
            messages.success(request, f"'{task.pk}' is being cancelled.")
        return page

    # --- Deletion

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What goes, without counting log entries; and the lifecycle's reasons against it."""
        tasks = list(objs)
        chosen = [task.pk for task in tasks]
        runs = Run.objects.filter(task__in=chosen).count()
        counts = {"tasks": len(tasks), "runs, with their log and spool files": runs}
        lacking = set() if self.has_delete_permission(request) else {"task"}
        return chosen, counts, lacking, why_not_delete(tasks)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
        except TaskError as error:
            messages.error(request, error.message)
            return redirect("admin:tasks_task_change", object_id)
        return response

    def delete_model(self, request: HttpRequest, obj: Task) -> None:
        services.delete(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        """All or none; a task goes after those that wait for it."""
        chosen = set(queryset.values_list("pk", flat=True))
        with transaction.atomic():
            while chosen:
                needed = Dependency.objects.filter(task__in=chosen).values_list("needs_id", flat=True)
                free = chosen.difference(needed)
                for task_id in free:
                    services.delete(task_id)
                chosen -= free

    def response_action(self, request: HttpRequest, queryset: QuerySet[Task]) -> Any:
        # Between the question and the answer a task may have begun to run.
        try:
            with transaction.atomic():
                return super().response_action(request, queryset)
        except TaskError as error:
            messages.error(request, error.message)
            return redirect(request.get_full_path())


def _neighbours(links: QuerySet[Dependency], end: str) -> dict[str, Any]:
    rows = list(links.values_list(f"{end}_id", f"{end}__status")[: NEIGHBOURS + 1])
    shown = [{"id": pk, "status": status, "badge": BADGES[status]} for pk, status in rows[:NEIGHBOURS]]
    return {"tasks": shown, "more": len(rows) > NEIGHBOURS}


def _run_row(run: Run) -> dict[str, Any]:
    word = outcome(run)
    return {
        "run": run,
        "word": word,
        "badge": BADGES.get(word, "default"),
        "why": why_failed(run),
        "took": duration(run.started_at or run.created_at, run.ended_at),
        "tokens": tokens(run),
        "cost": dollars(run.cost),
        "memory": size(run.peak_memory if run.peak_memory is not None else run.memory_usage),
        "cpu": "–" if run.cpu_seconds is None else f"{run.cpu_seconds:.1f} s",
    }
