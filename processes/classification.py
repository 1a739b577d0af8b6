"""Which processes are AI coding agents, and what they do, told by executable and arguments (pure).

Never by substring: neither an editor with `opencode.md` open nor a grep for claude is an agent.
What the agents look like was measured with OpenCode 1.18 and read from the others' packages.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import PurePath

INTERPRETERS = frozenset({"node", "nodejs", "bun", "deno", "python", "python3"})
"""Programs that run a script: the script is then what the process is."""


class AgentKind(enum.StrEnum):
    """The agents that are told apart."""

    OPENCODE = "opencode"
    CLAUDE = "claude"
    CLAUDE_DESKTOP = "claude_desktop"
    CODEX = "codex"
    GEMINI = "gemini"


PROGRAMS = {
    "opencode": AgentKind.OPENCODE,
    "opencode.exe": AgentKind.OPENCODE,
    "claude": AgentKind.CLAUDE,
    "claude.exe": AgentKind.CLAUDE,
    "claude-desktop": AgentKind.CLAUDE_DESKTOP,
    "Claude": AgentKind.CLAUDE_DESKTOP,
    "codex": AgentKind.CODEX,
    "gemini": AgentKind.GEMINI,
}
"""Names of executables, and of the scripts that interpreters run."""
SUBCOMMANDS = {
    (AgentKind.OPENCODE, "run"): "executing_task",
    (AgentKind.OPENCODE, "serve"): "serving",
    (AgentKind.OPENCODE, "web"): "serving",
    (AgentKind.OPENCODE, "acp"): "editor_session",
    (AgentKind.CODEX, "exec"): "executing_task",
    (AgentKind.CODEX, "mcp-server"): "serving",
}
UPKEEP: dict[AgentKind | None, set[str]] = {
    AgentKind.OPENCODE: {
        "auth",
        "completion",
        "db",
        "debug",
        "export",
        "import",
        "mcp",
        "models",
        "plug",
        "plugin",
        "providers",
        "session",
        "stats",
        "uninstall",
        "upgrade",
        "-h",
        "--help",
        "-v",
        "--version",
    }
}
"""First words with which an agent's program does something else than work as an agent (`opencode --help`)."""
PRINT_FLAGS = frozenset({"-p", "--print", "--prompt"})
"""Flags with which Claude Code and Gemini work off one prompt and leave."""


def classify(*, exe: str, name: str, argv: Sequence[str]) -> AgentKind | None:
    """The kind of agent that a process is, None for everything else.

    The executable's name decides; where that is an interpreter, the name of the script it runs; where the
    executable is not known (another user's process), the process's name. What a process calls itself in
    argv[0] decides nothing while its executable is known.
    """
    kind = _program(exe=exe, name=name, argv=argv)
    words = _after_program(argv)
    return None if words and words[0] in UPKEEP.get(kind, ()) else kind


def _program(*, exe: str, name: str, argv: Sequence[str]) -> AgentKind | None:
    program = PurePath(exe).name if exe else ""
    if program.startswith(tuple(INTERPRETERS)) and _is_interpreter(program):
        kind = PROGRAMS.get(_script(argv))
        return None if kind is AgentKind.CLAUDE_DESKTOP else kind
    if program == "electron":
        program = "claude-desktop" if _electron_app(argv) == "claude-desktop" else program
    if not program:
        program = name
    if "/claude/versions/" in exe.replace("\\", "/"):
        # Claude Code's native installer names the executable after its version.
        program = "claude"
    kind = PROGRAMS.get(program)
    if kind is AgentKind.CLAUDE_DESKTOP and any(word.startswith("--type=") for word in argv):
        return None
    return kind


def activity(kind: AgentKind, argv: Sequence[str]) -> str:
    """What an agent was started for: executing_task, serving, editor_session or interactive."""
    words = _after_program(argv)
    first = next((word for word in words if not word.startswith("-")), "")
    if told := SUBCOMMANDS.get((kind, first)):
        return told
    if kind in (AgentKind.CLAUDE, AgentKind.GEMINI) and PRINT_FLAGS.intersection(words):
        return "executing_task"
    return "interactive"


def runs_script(exe: str) -> bool:
    """Whether the executable is an interpreter, so that its script says what the process is."""
    return _is_interpreter(PurePath(exe).name)


def _is_interpreter(program: str) -> bool:
    return program.rstrip("0123456789.") in INTERPRETERS


def _script(argv: Sequence[str]) -> str:
    """The name of the script that an interpreter was given: the first word that is not an option."""
    path = PurePath(script_path(argv))
    return path.stem if path.suffix in (".js", ".mjs", ".cjs", ".py") else path.name


def script_path(argv: Sequence[str]) -> str:
    """The script itself, as it was given; empty if there is none."""
    for word in argv[1:]:
        if word in ("-c", "-e", "-m", "--eval", "-p", "--print"):
            return ""
        if not word.startswith("-"):
            return word
    return ""


def _after_program(argv: Sequence[str]) -> Sequence[str]:
    if argv and _is_interpreter(PurePath(argv[0]).name):
        for place, word in enumerate(argv[1:], start=1):
            if not word.startswith("-"):
                return argv[place + 1 :]
    return argv[1:]


def _electron_app(argv: Sequence[str]) -> str:
    for word in argv[1:]:
        if not word.startswith("-"):
            parts = PurePath(word).parts
            return next((part for part in parts if part == "claude-desktop"), "")
    return ""
