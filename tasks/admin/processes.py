"""The agents that the scans have found, with a button that ends one after asking."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from processes.admin import History
from processes.errors import ControlError
from processes.models import SeenAgent
from tasks import inventory, services
from tasks.admin.show import size

STOP = "tasks.stop_run"


@admin.register(SeenAgent)
class SeenAgentAdmin(History):
    list_display = ("pid", "kind", "host", "owner", "activity", "cpu", "memory", "last_seen_at", "end")
    list_filter = (("kind", ChoicesDropdownFilter), "gone")
    search_fields = ("task_id__exact", "host__exact")
    search_help_text = "The id of a task, or the name of a host"

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return self.list_display if request.user.has_perm(STOP) else self.list_display[:-1]

    @display(description="task")
    def owner(self, obj: SeenAgent) -> str:
        return obj.task_id or "somebody else's"

    @display(description="CPU", ordering="cpu_percent")
    def cpu(self, obj: SeenAgent) -> str:
        return f"{obj.cpu_percent:.0f} %"

    @display(ordering="memory_rss")
    def memory(self, obj: SeenAgent) -> str:
        return size(obj.memory_rss)

    @display(description="")
    def end(self, obj: SeenAgent) -> str:
        if obj.gone:
            return "gone"
        if obj.host != settings.HOSTNAME:
            return f"only on {obj.host}"
        url = reverse("admin:processes_seenagent_end", args=[obj.pk])
        return format_html('<a class="oc-link-danger" href="{}">End process {}…</a>', url, obj.pid)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_view)
        own = [path("<int:pk>/end/", view, name="processes_seenagent_end")]
        return [*own, *super().get_urls()]

    def end_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks, and on POST ends the process as `kill_process` does."""
        if not request.user.has_perm(STOP):
            raise PermissionDenied
        seen = get_object_or_404(SeenAgent, pk=pk)
        back = redirect("admin:processes_seenagent_changelist")
        if seen.gone or seen.host != settings.HOSTNAME:
            where = "has ended" if seen.gone else f"runs on {seen.host}, which this server cannot reach"
            messages.error(request, f"Process {seen.pid} {where}.")
            return back
        if request.method == "POST":
            self._end(request, seen)
            return back
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"End process {seen.pid}?",
            "question": f"{seen.kind} {seen.pid} on {seen.host} gets SIGTERM. What it has not saved is lost.",
            "facts": [("Command", seen.cmdline), ("Directory", seen.working_dir), ("Task", seen.task_id)],
            "go": "End the process",
            "stay": reverse("admin:processes_seenagent_changelist"),
            "danger": True,
        }
        return render(request, "admin/confirm.html", context)

    def _end(self, request: HttpRequest, seen: SeenAgent) -> None:
        current = {agent.info.pid: agent.info.create_time for agent in inventory.look(fresh=0.0).agents}
        # The pid on the page may by now be another agent's.
        started = current.get(seen.pid)
        if started is None or abs(started - seen.create_time) >= 1.0:
            messages.error(request, f"Process {seen.pid} has ended.")
            return
        try:
            services.kill_process(
                seen.pid,
                signal.SIGTERM,
                asked_by=f"admin: {request.user.get_username()}",
                grace=settings.KILL_GRACE,
            )
        except ControlError as error:
            messages.error(request, str(error))
            return
        self.log_change(request, seen, "Ended the process with SIGTERM.")
        messages.success(request, f"Process {seen.pid} has ended.")
