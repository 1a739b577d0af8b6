"""What is an agent and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.classification import activity, classify

MODULES = "/usr/lib/node_modules"


@pytest.mark.parametrize(
    ("exe", "name", "argv", "kind"),
    [
        (f"{MODULES}/opencode-linux-x64/bin/opencode", "opencode", ["opencode", "run"], "opencode"),
        (f"{MODULES}/@anthropic-ai/claude-code/bin/claude", "claude", ["claude"], "claude"),
        ("/home/u/.local/share/claude/versions/2.1.7", "2.1.7", ["claude", "-p"], "claude"),
        ("/usr/bin/node", "node", ["node", "/usr/bin/claude"], "claude"),
        ("/usr/bin/node", "node", ["node", f"{MODULES}/.bin/codex", "exec"], "codex"),
        ("/opt/codex/codex", "codex", ["codex", "exec"], "codex"),
        ("/usr/bin/node", "node", ["node", "--max-old-space-size=4096", "/usr/local/bin/gemini"], "gemini"),
        ("/usr/bin/node22", "node", ["node", "/usr/local/bin/gemini"], "gemini"),
        ("/Applications/Claude.app/Contents/MacOS/Claude", "Claude", ["Claude"], "claude_desktop"),
        ("/usr/lib/claude-desktop/claude-desktop", "claude-desktop", ["claude-desktop"], "claude_desktop"),
        ("/usr/bin/electron", "electron", ["electron", "/usr/lib/claude-desktop/app.asar"], "claude_desktop"),
        ("", "opencode", [], "opencode"),
    ],
)
def test_knows_the_agents(exe: str, name: str, argv: list[str], kind: str) -> None:
    assert classify(exe=exe, name=name, argv=argv) == kind


@pytest.mark.parametrize(
    ("exe", "name", "argv"),
    [
        ("/usr/bin/vim", "vim", ["vim", "opencode.md"]),
        ("/usr/bin/grep", "grep", ["grep", "-r", "claude", "/srv"]),
        ("/usr/bin/tail", "tail", ["tail", "-f", "/var/log/claude.log"]),
        ("/bin/bash", "bash", ["bash", "-c", "opencode run hello"]),
        ("/usr/bin/node", "node", ["node", "/srv/opencode/server.js", "--opencode"]),
        ("/usr/bin/node", "node", ["node", "-e", "claude"]),
        ("/usr/bin/python3.11", "python3.11", ["python3.11", "-m", "opencode"]),
        ("/home/opencode/bin/htop", "htop", ["htop"]),
        ("/usr/bin/sleep", "opencode", ["opencode", "run"]),
        ("/usr/lib/claude-desktop/claude-desktop", "claude-desktop", ["claude-desktop", "--type=renderer"]),
        ("/usr/bin/electron", "electron", ["electron", "/usr/lib/slack/app.asar"]),
        ("/b/opencode", "opencode", ["opencode", "db", "select 1"]),
        ("/b/opencode", "opencode", ["opencode", "--version"]),
        ("/usr/bin/node", "node", ["node", "/b/opencode", "models"]),
        ("", "kworker/0:1", []),
    ],
)
def test_is_not_misled(exe: str, name: str, argv: list[str]) -> None:
    assert classify(exe=exe, name=name, argv=argv) is None


@pytest.mark.parametrize(
    ("exe", "argv", "doing"),
    [
        ("/b/opencode", ["opencode", "run", "--format", "json"], "executing_task"),
        ("/b/opencode", ["opencode", "serve"], "serving"),
        ("/b/opencode", ["opencode", "acp"], "editor_session"),
        ("/b/opencode", ["opencode"], "interactive"),
        ("/b/opencode", ["opencode", "./db"], "interactive"),
        ("/b/opencode", ["opencode", "run", "--version"], "executing_task"),
        ("/b/claude", ["claude", "-p", "hello"], "executing_task"),
        ("/b/claude", ["claude"], "interactive"),
        ("/usr/bin/node", ["node", "/b/codex", "exec"], "executing_task"),
    ],
)
def test_tells_what_an_agent_was_started_for(exe: str, argv: list[str], doing: str) -> None:
    kind = classify(exe=exe, name="", argv=argv)
    assert kind is not None
    assert activity(kind, argv) == doing


@given(st.text(), st.text(), st.lists(st.text(), max_size=5))
def test_takes_whatever_a_process_calls_itself(exe: str, name: str, argv: list[str]) -> None:
    kind = classify(exe=exe, name=name, argv=argv)
    assert kind is None or activity(kind, argv)
