"""Foreign text becomes storable: cleaned of escapes and control characters, and bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.agents.text import (
    DEPTH_LIMIT,
    DETAIL_LIMIT,
    DETAILS_LIMIT,
    ITEMS_LIMIT,
    clean_details,
    clip,
    one_line,
    strip_ansi,
)

ESCAPES = st.sampled_from(
    ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x9b", "\x07", "\x1b\\", "31m", "\r", "\x00", "\ud800"]
)
HOSTILE_TEXT = st.lists(ESCAPES | st.text(st.characters(), max_size=5), max_size=8).map("".join)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ESCAPES | st.text(st.characters(), max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(ESCAPES, children, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\x1b[91m\x1b[1mError: \x1b[0mno", "Error: no"),
        ("\x1b[38;2;1;2;3mred\x1b[m \x1b[2K\x1b[1Aup", "red up"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\after", "after"),
        ("\x1b(Bascii\x1b7\x1b8\x1bc", "ascii"),
        ("\x9b31mc1\x9b0m", "c1"),
        ("a\x00b\x08c\x7fd\x85e", "abcde"),
        ("tab\tnewline\n", "tab\tnewline\n"),
        ("10 %\r20 %\r\n", "10 %\n20 %\n"),
        ("half \ud800 of a pair", "half \ufffd of a pair"),
        ("émoji 🎉 日本", "émoji 🎉 日本"),
    ],
)
def test_strips_what_is_not_text(raw: str, clean: str) -> None:
    assert strip_ansi(raw) == clean


def test_shows_what_follows_an_escape_that_never_ends() -> None:
    assert "rm -rf" in strip_ansi("\x1b]0;hidden? rm -rf")


@given(HOSTILE_TEXT)
def test_leaves_only_text_that_can_be_stored(raw: str) -> None:
    clean = strip_ansi(raw)

    clean.encode()
    assert not any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in clean)
    assert strip_ansi(clean) == clean


def test_says_how_much_was_clipped() -> None:
    clipped = clip("x" * 500, 100)

    assert len(clipped) == 100
    assert clipped.endswith("xxx… [clipped, 500 characters in all]")
    assert clip("x" * 100, 100) == "x" * 100


def test_takes_the_first_line_that_says_something() -> None:
    assert one_line("\n  \x1b[1mls -l\x1b[0m  \n", 20) == "ls -l"
    assert one_line("first\nsecond", 20) == "first …"
    assert one_line("x" * 30, 20) == "x" * 19 + "…"
    assert one_line(" \n", 20) == ""


@given(st.dictionaries(ESCAPES, JSON_VALUES, max_size=4))
def test_gives_details_that_every_encoder_takes(details: dict[str, Any]) -> None:
    kept, _ = clean_details(details)

    encoded = json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(encoded) == kept
    assert "\\x00" not in repr(kept).replace("\\\\", "")


def test_keeps_details_within_the_limits_as_they_are() -> None:
    details = {
        "tool": "bash",
        "input": {"command": "ls", "n": [1, 2.5, True, None]},
        "output": "x" * DETAIL_LIMIT,
    }

    assert clean_details(details) == (details, False)


def test_clips_long_strings_deep_inside() -> None:
    kept, clipped = clean_details({"input": {"edits": [{"text": "x" * (DETAIL_LIMIT + 1)}]}})

    text = kept["input"]["edits"][0]["text"]
    assert clipped
    assert len(text) == DETAIL_LIMIT
    assert text.endswith(f"… [clipped, {DETAIL_LIMIT + 1} characters in all]")


def test_bounds_members_depth_and_the_whole() -> None:
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_LIMIT * 2):
        deep = {"deeper": deep}
    wide = {"list": list(range(ITEMS_LIMIT * 2)), "keys": {str(n): n for n in range(ITEMS_LIMIT * 2)}}
    heavy = {"list": ["x" * 10_000] * 100, "small": [[[0] * 100] * 100] * 100}

    kept_wide, wide_clipped = clean_details(wide)
    kept_heavy, heavy_clipped = clean_details(heavy)

    assert json.dumps(clean_details(deep)[0]).count("deeper") == DEPTH_LIMIT
    assert len(kept_wide["list"]) == len(kept_wide["keys"]) == ITEMS_LIMIT
    assert wide_clipped
    assert heavy_clipped
    assert len(json.dumps(kept_heavy)) < DETAILS_LIMIT * 4


def test_writes_numbers_that_no_encoder_takes_as_text() -> None:
    kept, _ = clean_details({"big": 2**70, "nan": float("nan"), "inf": float("inf")})

    assert kept == {"big": hex(2**70), "nan": "nan", "inf": "inf"}
