"""What the scripted models say and do: the model's name chooses the conversation."""

from __future__ import annotations

import re
from collections.abc import Callable

from opencode_site.demo.model_server import Call, Turn, calling


def _bash(command: str) -> Call:
    # Longer than any test: the run's own timeout has to end it.
    return Call("bash", {"command": command, "description": "Run a command", "timeout": 3_600_000})


def _todos(*states: str) -> Call:
    names = ("Inspect project", "Write file", "Report")
    todos = [
        {"id": str(number), "content": name, "status": state, "priority": "medium"}
        for number, (name, state) in enumerate(zip(names, states, strict=True), start=1)
    ]
    return Call("todowrite", {"todos": todos})


def _write(path: str, content: str) -> Call:
    return Call("write", {"filePath": path, "content": content})


def _success(prompt: str) -> list[Turn]:
    return [calling(_write("hello.txt", "hello from stub\n")), Turn("Done: wrote hello.txt")]


def _todo_list(prompt: str) -> list[Turn]:
    return [
        calling(_todos("in_progress", "pending", "pending")),
        calling(_bash("ls")),
        calling(_todos("completed", "in_progress", "pending")),
        calling(_write("todo.txt", "x\n")),
        calling(_todos("completed", "completed", "completed")),
        Turn("All three todos are done."),
    ]


def _bad_tool(prompt: str) -> list[Turn]:
    return [calling(Call("read", {"filePath": "does-not-exist.txt"})), Turn("Could not read the file.")]


def _bash_fail(prompt: str) -> list[Turn]:
    return [calling(_bash("echo oops >&2; exit 3")), Turn("bash finished")]


def _outside(prompt: str) -> list[Turn]:
    return [calling(_write("../outside.txt", "outside\n")), Turn("It should have been stopped before this.")]


def _sleep(prompt: str) -> list[Turn]:
    """Runs what follows `run: ` in the prompt, else the prompt's first line, as a shell command."""
    told = re.search(r"^run: (.+)$", prompt, re.MULTILINE)
    command = told.group(1) if told else prompt.strip().split("\n", 1)[0]
    return [calling(_bash(command)), Turn("The command has ended.")]


def _talk(prompt: str) -> list[Turn]:
    """Says as many lines, each an answer of its own, as the first number in the prompt says (else 3)."""
    number = re.search(r"\d+", prompt)
    lines = int(number.group()) if number else 3
    spoken = [Turn(f"line {line} of {lines}", (_bash("true"),), "tool_calls") for line in range(1, lines)]
    return [*spoken, Turn(f"line {lines} of {lines}")]


def _length(prompt: str) -> list[Turn]:
    return [Turn("This answer is cut off in the mid", finish="length")]


def _hang(prompt: str) -> list[Turn]:
    return [Turn("It was released.")]


SCENARIOS: dict[str, Callable[[str], list[Turn]]] = {
    "success": _success,
    "todos": _todo_list,
    "badtool": _bad_tool,
    "bashfail": _bash_fail,
    "length": _length,
    "outside": _outside,
    "sleep": _sleep,
    "talk": _talk,
    "hang": _hang,
}
"""Model name → the turns of its conversation, given the prompt."""
ERRORS: dict[str, tuple[int, str]] = {
    "err401": (401, "Incorrect API key provided"),
    "err429": (429, "Rate limit reached"),
    "err500": (500, "Stub server error"),
}
"""Model name → HTTP status and message of the error that every request gets."""
MODELS = (*SCENARIOS, *ERRORS)
