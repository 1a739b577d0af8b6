"""The lifecycle: the only writer of a status.

Every change is one transaction with one conditional update; only its winner records the transition, and the
world is told after the commit. A write about a run is fenced by the run's id and by its not having ended.
"""

from tasks.services.changes import (
    cancel,
    cancel_all_on_host,
    change_priority,
    delete,
    edit,
    kill_process,
    retry,
)
from tasks.services.runs import (
    Output,
    claim,
    finish,
    lose,
    lose_silent,
    mark_started,
    pause_host,
    refuse,
    report_host,
    resume_host,
    retry_delay,
    store_output,
)
from tasks.services.submission import NewTask, Past, duplicate, record_finished, submit, submit_all

__all__ = [
    "NewTask",
    "Output",
    "Past",
    "cancel",
    "cancel_all_on_host",
    "change_priority",
    "claim",
    "delete",
    "duplicate",
    "edit",
    "finish",
    "kill_process",
    "lose",
    "lose_silent",
    "mark_started",
    "pause_host",
    "record_finished",
    "refuse",
    "report_host",
    "resume_host",
    "retry",
    "retry_delay",
    "store_output",
    "submit",
    "submit_all",
]
