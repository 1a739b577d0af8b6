"""What every agent adapter gets, gives and promises. It is pure: text in, facts out, no I/O but in `find`."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from tasks.agents.text import DETAIL_LIMIT, MESSAGE_LIMIT, clean_details, clip, strip_ansi
from tasks.failures import FailureReason

__all__ = [
    "DETAIL_LIMIT",
    "MESSAGE_LIMIT",
    "Agent",
    "Exit",
    "Job",
    "Launch",
    "LogLine",
    "Report",
    "Verdict",
    "strip_ansi",
]

STDERR_TAIL_LIMIT: Final = 2_000
"""Characters of stderr that are kept to explain a failure."""
COUNT_LIMIT: Final = 2**53
"""Tokens: above this neither a browser nor every database counts exactly."""
COST_LIMIT: Final = Decimal(10_000_000)
"""US dollars of one run. More is not a price but a broken stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an agent is to do in one run."""

    task_id: str
    run_id: str
    description: str
    files_pattern: str
    """A glob relative to the working directory; empty if the task names none."""
    working_dir: Path
    scratch: Path
    """An empty directory for what the agent itself leaves behind; it goes when the run has ended."""
    model: str
    """Empty for the agent's own default."""
    type: str
    priority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How an agent is started for a job."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """What comes on top of the cleaned environment."""
    stdin: str
    """The prompt. It may be long, may begin with `-`, and is nobody else's business: so not in `argv`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a task's log; make it with `of`, which makes foreign text fit to be stored."""

    level: str
    """debug, info, warn or error."""
    message: str
    details: dict[str, Any]
    time: datetime | None
    """Aware, in UTC; None where the stream does not tell it."""

    @classmethod
    def of(
        cls, level: str, message: str, details: dict[str, Any] | None = None, *, time: datetime | None = None
    ) -> Self:
        """A line with its texts cleaned and within the limits; where something was left out it says so."""
        text = strip_ansi(message)
        kept, clipped = clean_details(details or {})
        if clipped or len(text) > MESSAGE_LIMIT:
            kept["clipped"] = True
        return cls(level=level, message=clip(text, MESSAGE_LIMIT), details=kept, time=time)


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that a run's output has told so far.

    It is stored with the offset in the output, so that whoever follows the run next goes on from there.
    """

    session_id: str = ""
    events: int = 0
    first_event: bool = False
    """The agent has shown that it works: it has said something, or has called its model."""
    finished: bool = False
    """The agent has said that it is done."""
    last_reason: str = ""
    """Why the model's last answer ended, in the agent's own word; empty until there was one."""
    error_name: str = ""
    error_message: str = ""
    error_status: int | None = None
    """The HTTP status that the model provider answered with."""
    error_retryable: bool = False
    retry_after: float | None = None
    """Seconds after the error before which the provider does not want to be asked again."""
    permission_rejected: bool = False
    progress: int | None = None
    """Percent, 0 to 99; None while there is no evidence."""
    tokens_input: int = 0
    """Without those read from the cache."""
    tokens_output: int = 0
    tokens_reasoning: int = 0
    tokens_cache_read: int = 0
    tokens_cache_write: int = 0
    cost: str = "0"
    """US dollars, as an exact decimal."""
    last_message: str = ""
    """What the agent said last."""
    stderr_tail: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON keeps as it is."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The report that `to_json` gave, also by an older or newer version: unknown fields are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def add_cost(self, dollars: Decimal) -> None:
        """Adds a step's cost without rounding."""
        self.cost = str(min(Decimal(self.cost) + dollars, COST_LIMIT))

    def add_stderr(self, text: str) -> None:
        """Keeps a line of stderr, and of all of them the end."""
        self.stderr_tail = f"{self.stderr_tail}\n{text}".strip()[-STDERR_TAIL_LIMIT:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How an agent's process ended."""

    code: int | None
    """None if it was ended by a signal, or never ran."""
    signal: int | None
    stopped_by: str | None
    """Who ended it, if not itself: timeout, cancelled, killed, finished, no_output or signalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be thought of a run that has ended."""

    succeeded: bool
    reason: FailureReason | None
    detail: str
    """For a person: what happened and what to do, with the provider's own words; empty on success."""
    retry_after: float | None = None
    """Seconds before which trying again cannot succeed; None where that is not known."""


class Agent(abc.ABC):
    """One kind of agent CLI. Adapters keep no state: all of it is in the report."""

    name: ClassVar[str]
    """The word that tasks name it by."""
    label: ClassVar[str]
    """Its name for people."""
    quiet_start_seconds: ClassVar[float] = 90.0
    """A run without `Report.first_event` after this time is ended."""
    linger_seconds: ClassVar[float] = 30.0
    """An agent that still runs this long after `Report.finished` is ended."""

    @abc.abstractmethod
    def find(self, *, configured: str, search_path: str) -> Path | None:
        """The absolute path of the executable, or None.

        `configured` is what the operator has set: a path, a name to look up, or empty for the agent's usual
        name. `search_path` has the form of PATH.
        """

    @abc.abstractmethod
    def launch(self, job: Job, *, executable: Path) -> Launch:
        """How to start it for this job."""

    def first_start(self, executable: Path) -> Launch | None:
        """What a new version must have done alone before several of it start together; None if nothing."""
        return None

    @abc.abstractmethod
    def read_stdout(self, line: str, report: Report) -> list[LogLine]:
        """Brings the report up to date with a whole line of stdout and returns what belongs in the log.

        Takes any text whatsoever and never raises.
        """

    @abc.abstractmethod
    def read_stderr(self, line: str, report: Report) -> list[LogLine]:
        """The same for a line of stderr."""

    @abc.abstractmethod
    def verdict(self, report: Report, exit: Exit) -> Verdict:
        """Judges a run whose output has been read to its end."""
