"""The agents that tasks can name. Another one is a file beside these and a line here."""

from __future__ import annotations

from tasks.agents.base import Agent
from tasks.agents.opencode import OpenCode

AGENTS: dict[str, Agent] = {"opencode": OpenCode()}
