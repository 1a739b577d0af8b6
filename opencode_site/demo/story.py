"""What happens in the demo: the project, the tasks, and what the scripted model does about each.

The model is scripted; all else is real: opencode, its tools, the files that it changes, the tests it runs.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opencode_site.demo.model_server import Call, ModelServer, Refusal, Request, Turn, calling

TALLY = '''\
"""Sums up what people have bought."""


def total(prices):
    return sum(prices)


def average(prices):
    return total(prices) / (len(prices) + 1)
'''
TESTS = """\
import unittest

from tally import average, total


class TallyTest(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total([1, 2, 3]), 6)

    def test_average(self):
        self.assertEqual(average([1, 2, 3]), 2)
"""
README = """\
# tally

Sums up what people have bought: `total(prices)` and `average(prices)`.

Run its tests with `python3 -m unittest -v`.
"""
FILES = {"tally.py": TALLY, "test_tally.py": TESTS}
RUN_TESTS = f"{shlex.quote(sys.executable)} -m unittest -v"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the model has set itself to do, and how it does it."""

    name: str
    calls: tuple[Call, ...]
    says: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One task of the demo. `after` names the task that it waits for."""

    task_id: str
    asks: str
    steps: tuple[Step, ...]
    ends: str
    after: str = ""
    priority: str = "medium"

    @property
    def turns(self) -> list[Turn]:
        """The answers of the model, one after the other; its todo list goes with its work."""
        turns = []
        for number, step in enumerate(self.steps):
            turns.append(calling(_todos(self.steps, done=number)))
            turns.append(calling(*step.calls, text=step.says))
        return [*turns, calling(_todos(self.steps, done=len(self.steps))), Turn(self.ends)]


def _todos(steps: Sequence[Step], *, done: int) -> Call:
    todos = [
        {
            "id": str(number),
            "content": step.name,
            "status": "completed" if number < done else "in_progress" if number == done else "pending",
            "priority": "medium",
        }
        for number, step in enumerate(steps)
    ]
    return Call("todowrite", {"todos": todos})


def _bash(command: str, description: str) -> Call:
    return Call("bash", {"command": command, "description": description})


def _path(name: str) -> dict[str, str]:
    return {"filePath": name}


SCENES = (
    Scene(
        task_id="mend-the-average",
        asks="The tests fail. Find out why, mend it, and run them again.",
        steps=(
            Step("Run the tests", (_bash(RUN_TESTS, "Run the tests"),), "Let me see what fails."),
            Step("Find the fault", (Call("read", _path("tally.py")),), "An average of 1.5 instead of 2."),
            Step(
                "Mend it",
                (
                    Call(
                        "edit",
                        {
                            **_path("tally.py"),
                            "oldString": "/ (len(prices) + 1)",
                            "newString": "/ len(prices)",
                        },
                    ),
                ),
                "It divides by one too many.",
            ),
            Step("Run the tests again", (_bash(RUN_TESTS, "Run the tests"),)),
        ),
        ends="average() divided by one too many. Mended: both tests pass.",
        priority="high",
    ),
    Scene(
        task_id="write-the-readme",
        asks="Write a README.md that says what this is and how to run its tests.",
        steps=(
            Step("Look at the code", (Call("read", _path("tally.py")),)),
            Step("Write README.md", (Call("write", {**_path("README.md"), "content": README}),)),
        ),
        ends="README.md says what tally does and how to run its tests.",
        after="mend-the-average",
    ),
    Scene(
        task_id="count-the-lines",
        asks="How many lines of code are there?",
        steps=(Step("Count them", (_bash("wc -l *.py", "Count the lines"),)),),
        ends="There are two files: the code and its tests.",
    ),
)
PROVIDER = "demo"
MODELS = tuple(scene.task_id for scene in SCENES)
"""Each task has a model of its own, which knows its lines."""


def make_project(directory: Path) -> None:
    """The project as the agents find it."""
    directory.mkdir(parents=True)
    for name, content in FILES.items():
        (directory / name).write_text(content)


class Player(ModelServer):
    """Says its lines, `pace` seconds after it was asked for each: a model takes its time."""

    def __init__(self, *, pace: float) -> None:
        super().__init__()
        self._pace = pace
        self._turns = {scene.task_id: scene.turns for scene in SCENES}

    def answer(self, request: Request) -> Turn | Refusal:
        turns = self._turns.get(request.model)
        if turns is None:
            return Refusal(404, f"The demo has no model {request.model}; there are {', '.join(MODELS)}")
        time.sleep(self._pace)
        return turns[min(request.answered_turns, len(turns) - 1)]
