"""Reading a spool line by line, from an offset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.models import LogEntry
from tasks import services
from tasks.execution import follower
from tasks.execution.follower import read_lines
from tasks.execution.launcher import SCRATCH
from tasks.execution.supervisor import AGENT, EXIT
from tasks.models import Run, RunState
from tests.tasks.execution.conftest import Spooled, agent_record


def test_reads_whole_lines_and_leaves_an_unfinished_one(tmp_path: Path) -> None:
    spool = tmp_path / "stdout"
    spool.write_bytes(b"one\ntwo\nthr")
    chunk = read_lines(spool, 0, to_the_end=False)
    assert (chunk.lines, chunk.offset) == ([b"one", b"two"], 8)
    spool.write_bytes(b"one\ntwo\nthree\n")
    assert read_lines(spool, 8, to_the_end=False).lines == [b"three"]


def test_takes_the_unfinished_line_when_nobody_will_finish_it(tmp_path: Path) -> None:
    spool = tmp_path / "stdout"
    spool.write_bytes(b"one\ntwo")
    chunk = read_lines(spool, 0, to_the_end=True)
    assert (chunk.lines, chunk.offset) == ([b"one", b"two"], 7)
    assert read_lines(spool, 7, to_the_end=True).lines == []


def test_takes_a_missing_spool_for_an_empty_one(tmp_path: Path) -> None:
    chunk = read_lines(tmp_path / "stdout", 0, to_the_end=True)
    assert (chunk.lines, chunk.offset) == ([], 0)


def test_waits_for_the_rest_of_a_line_longer_than_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "READ_LIMIT", 10)
    spool = tmp_path / "stdout"
    spool.write_bytes(b"x" * 35)
    assert read_lines(spool, 0, to_the_end=False).offset == 0
    spool.write_bytes(b"x" * 35 + b"\n")
    assert read_lines(spool, 0, to_the_end=False).lines == [b"x" * 35]


@pytest.mark.parametrize("ending", [b"\nnext\n", b""])
def test_tells_the_length_of_a_line_that_is_too_long(
    ending: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "READ_LIMIT", 10)
    monkeypatch.setattr(follower, "LINE_LIMIT", 25)
    spool = tmp_path / "stdout"
    spool.write_bytes(b"x" * 100 + ending)
    chunk = read_lines(spool, 0, to_the_end=True)
    assert len(chunk.lines) == 1
    assert b"was left out: the limit is 25" in chunk.lines[0]
    assert read_lines(spool, chunk.offset, to_the_end=True).lines == ([b"next"] if ending else [])


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=30),
    limit=st.integers(min_value=1, max_value=64),
    cuts=st.lists(st.integers(min_value=0, max_value=1300), max_size=5),
)
def test_reads_every_line_once_however_it_was_written(
    lines: list[bytes], limit: int, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = tmp_path_factory.mktemp("spool") / "stdout"
    content = b"".join(line + b"\n" for line in lines)
    seen: list[bytes] = []
    offset = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "READ_LIMIT", limit)
        for end in [*sorted(cuts), len(content)]:
            spool.write_bytes(content[:end])
            while (chunk := read_lines(spool, offset, to_the_end=False)).offset != offset:
                seen += chunk.lines
                offset = chunk.offset
    assert seen == lines


def test_goes_on_at_the_new_end_of_a_file_that_somebody_has_shortened(spooled: Spooled) -> None:
    written = "".join(event(f"line {number}") for number in range(4))
    followed = spooled(agent_json=agent_record(), stdout=written)
    assert followed.follow() is False
    spool = followed.directory / "stdout"
    before = spool.stat().st_size
    os.truncate(spool, 10)
    assert followed.follow() is False
    with spool.open("a") as file:
        file.write("\n" + event("after"))
    assert followed.follow() is False
    stored = list(LogEntry.objects.order_by("pk"))
    told = [entry.message for entry in stored if entry.level == "info"]
    assert told == ["line 0", "line 1", "line 2", "line 3", "after"]
    (shortened,) = [entry for entry in stored if entry.level == "error"]
    assert shortened.details == {"bytes": before - 10, "offset": 10}


def test_stores_nothing_of_an_agent_before_its_start_is_known(spooled: Spooled) -> None:
    """An agent may write before its supervisor has noted that it has started."""
    followed = spooled(started="", stdout=event("quick"))
    assert followed.follow() is False
    assert not LogEntry.objects.filter(message="quick").exists()
    (followed.directory / AGENT).write_text(json.dumps(agent_record()))
    assert followed.follow() is False
    assert LogEntry.objects.get(message="quick").run_id == followed.run.pk
    assert (followed.run.state, Run.objects.get().agent_pid) == (RunState.RUNNING, 1)


def test_ends_a_run_whose_exit_record_came_while_its_output_was_stored(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells of the record a second time."""
    followed = spooled(agent_json=agent_record(), stdout=event("the last word"))
    store = services.store_output

    def store_slowly(*args: Any) -> None:
        store(*args)
        (followed.directory / EXIT).write_text('{"code": 0}')

    monkeypatch.setattr(services, "store_output", store_slowly)
    assert followed.follow() is True
    assert LogEntry.objects.filter(message="the last word").count() == 1


def test_deletes_the_agents_throw_away_files_at_the_end(spooled: Spooled) -> None:
    followed = spooled(agent_json=agent_record())
    kept = followed.directory.parent / "kept"
    kept.write_text("of somebody else")
    library = followed.directory / SCRATCH / "deep" / "library.so"
    library.parent.mkdir(parents=True)
    library.symlink_to(kept)
    assert followed.follow() is False
    assert library.exists()
    (followed.directory / EXIT).write_text('{"code": 0}')
    assert followed.follow() is True
    assert not (followed.directory / SCRATCH).exists()
    assert kept.exists()


def test_ends_a_run_whose_throw_away_files_cannot_be_deleted(
    spooled: Spooled, caplog: pytest.LogCaptureFixture
) -> None:
    followed = spooled(agent_json=agent_record(), exit_json={"code": 0}, scratch="no directory")
    assert followed.follow() is True
    assert "the agent's throw-away files stay" in caplog.text


def event(text: str) -> str:
    return json.dumps({"type": "text", "timestamp": 1, "sessionID": "s", "part": {"text": text}}) + "\n"
