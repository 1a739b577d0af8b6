"""Why a run failed: one word for programs, one sentence for people."""

from __future__ import annotations

import enum
from typing import Final


class FailureReason(enum.StrEnum):
    """The reasons that a run can fail for; their values are stored and sent to clients."""

    AUTH = "auth"
    RATE_LIMIT = "rate_limit"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    PROVIDER_ERROR = "provider_error"
    PERMISSION_REJECTED = "permission_rejected"
    OUTPUT_TRUNCATED = "output_truncated"
    AGENT_ERROR = "agent_error"
    AGENT_CRASHED = "agent_crashed"
    NO_OUTPUT = "no_output"
    BAD_MODEL = "bad_model"
    NOT_INSTALLED = "not_installed"
    WORKING_DIR = "working_dir"
    LAUNCH_FAILED = "launch_failed"
    TIMEOUT = "timeout"
    KILLED = "killed"
    LOST = "lost"


RETRYABLE: Final = frozenset(
    {
        FailureReason.PROVIDER_UNREACHABLE,
        FailureReason.PROVIDER_ERROR,
        FailureReason.RATE_LIMIT,
        FailureReason.LOST,
    }
)
"""What may be gone the next time, without anybody doing anything about it."""

_EXPLANATIONS: Final[dict[FailureReason, str]] = {
    FailureReason.AUTH: (
        "The model provider refused the API key or the account: check the key, its rights and its credit."
    ),
    FailureReason.RATE_LIMIT: (
        "The model provider's rate limit was reached: wait, run fewer agents at once, or ask for more."
    ),
    FailureReason.PROVIDER_UNREACHABLE: (
        "The model provider could not be reached: check the network, the proxy and the provider's address."
    ),
    FailureReason.PROVIDER_ERROR: (
        "The model provider had an error of its own: try again later, or use another model."
    ),
    FailureReason.PERMISSION_REJECTED: (
        "The agent asked for a permission that nobody could grant and stopped: allow it in the agent's "
        "configuration, or keep the task inside its working directory."
    ),
    FailureReason.OUTPUT_TRUNCATED: (
        "The model's answer was cut off at its output limit: split the task, or raise the limit."
    ),
    FailureReason.AGENT_ERROR: "The agent ended without finishing the task: its log says how far it came.",
    FailureReason.AGENT_CRASHED: (
        "The agent's process was ended by a signal: look for a lack of memory on its host, then retry."
    ),
    FailureReason.NO_OUTPUT: (
        "The agent said nothing after its start and was ended: check that its model answers, then retry."
    ),
    FailureReason.BAD_MODEL: (
        "The agent or its provider does not know the model: name one as provider/model that its host has."
    ),
    FailureReason.NOT_INSTALLED: (
        "The agent's executable was not found on this host: install it, or set OPENCODE_BIN to its path."
    ),
    FailureReason.WORKING_DIR: (
        "The working directory cannot be used: check that it exists, is readable and lies in an allowed root."
    ),
    FailureReason.LAUNCH_FAILED: (
        "The agent's process could not be started: check its executable, and the host's free memory and disk."
    ),
    FailureReason.TIMEOUT: (
        "The time limit was reached and the agent was ended: raise the task's timeout, or split the task."
    ),
    FailureReason.KILLED: "The agent was ended on request: retry the task to run it again.",
    FailureReason.LOST: (
        "The run's process disappeared without a result, as after a restart of its host: retry the task."
    ),
}


def explain(reason: FailureReason) -> str:
    """One sentence about a failure that a person can act on."""
    return _EXPLANATIONS[reason]
