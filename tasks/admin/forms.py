"""The form of a task: the fields of the protocol's `start_task`, handed to the lifecycle as they are."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from tasks import services
from tasks.admin.show import MINUTE_MS
from tasks.agents import AGENTS
from tasks.errors import TaskError
from tasks.models import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS, Priority, Task
from tasks.selectors import dependency_ids

FIELDS = {
    "task.agent": "agent",
    "task.dependencies": "waits_for",
    "task.files_pattern": "files_pattern",
    "task.working_dir": "working_dir",
}
"""Where the message of a refusal is shown, by the field that the lifecycle names."""


def proposed_id() -> str:
    """An id that nobody else is likely to have."""
    return f"task-{secrets.token_hex(4)}"


class WorkForm(forms.ModelForm):  # type: ignore[type-arg]
    """What the forms of a task and of a schedule have in common; `timeout_ms` is given in minutes."""

    agent = forms.ChoiceField(choices=[(name, name) for name in AGENTS], widget=UnfoldAdminSelectWidget)
    minutes = forms.DecimalField(
        label="Time limit",
        required=False,
        min_value=MIN_TIMEOUT_MS / MINUTE_MS,
        max_value=MAX_TIMEOUT_MS / MINUTE_MS,
        help_text="Minutes that one run may take; empty means 7 days.",
        widget=UnfoldAdminDecimalFieldWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A page that is only read has no fields.
        if "working_dir" in self.fields:
            self.fields["working_dir"].required = False
            self.fields["working_dir"].help_text = "Empty means the project directory."
        if self.instance.timeout_ms is not None:
            self.initial["minutes"] = self.instance.timeout_ms / MINUTE_MS

    def timeout_ms(self) -> int | None:
        """What was given, None for nothing or for what is no time."""
        minutes = self.cleaned_data.get("minutes")
        return None if minutes is None else int(minutes * MINUTE_MS)


class TaskForm(WorkForm):
    """Stores nothing by itself: a valid form has been submitted to, or edited by, the lifecycle."""

    waits_for = forms.ModelMultipleChoiceField(
        label="Waits for",
        queryset=Task.objects.all(),
        required=False,
        help_text="It starts when all of these are completed.",
        widget=AutocompleteSelectMultiple(
            Task._meta.get_field("dependencies"), admin.site, attrs={"class": "unfold-admin-autocomplete"}
        ),
    )

    class Meta:
        model = Task
        fields = (
            *("id", "type", "priority", "description", "files_pattern", "working_dir", "agent", "model"),
            "max_retries",
        )
        widgets = {
            "id": UnfoldAdminTextInputWidget,
            "type": UnfoldAdminTextInputWidget,
            "description": UnfoldAdminTextareaWidget,
            "files_pattern": UnfoldAdminTextInputWidget,
            "working_dir": UnfoldAdminTextInputWidget,
            "model": UnfoldAdminTextInputWidget,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = self.instance._state.adding
        if not self.is_new and "id" in self.fields:
            self.fields["id"].disabled = True
            self.fields["id"].help_text = "An id is never changed."
            self.initial["waits_for"] = dependency_ids(self.instance)

    def _post_clean(self) -> None:
        # Here and not in save(), so that a refusal stands at its field with everything that was typed. The
        # admin has opened the transaction, and validates a posted form once.
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        change = services.submit if self.is_new else services.edit
        try:
            stored = change(self._wanted())
        except TaskError as error:
            field = FIELDS.get(str(error.facts.get("field", "")))
            if field is None and "task_id" in error.facts:
                field = "id"
            self.add_error(field, error.message)
            return
        self.instance = stored

    def _wanted(self) -> services.NewTask:
        data = self.cleaned_data
        return services.NewTask(
            id=data["id"],
            type=data["type"],
            description=data["description"],
            priority=Priority(data["priority"]),
            files_pattern=data["files_pattern"],
            timeout_ms=self.timeout_ms(),
            working_dir=data["working_dir"] or None,
            agent=data["agent"],
            model=data["model"],
            max_retries=data["max_retries"],
            dependencies=tuple(task.pk for task in data["waits_for"]),
        )
