"""Reading a spool line by line, from an offset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.models import LogEntry
from tasks.execution import follower
from tasks.execution.follower import read_lines
from tests.tasks.execution.conftest import Spooled


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
    followed = spooled(started="", stdout="".join(event(f"line {number}") for number in range(4)))
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


def event(text: str) -> str:
    return json.dumps({"type": "text", "timestamp": 1, "sessionID": "s", "part": {"text": text}}) + "\n"
