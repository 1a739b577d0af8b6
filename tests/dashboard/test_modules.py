"""The dashboard's modules: their own tests in Node, and the rules that every one of them keeps."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "opencode_site/static/dashboard").rglob("*.js"))
NODE_TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))
MARKUP_OR_CODE_FROM_TEXT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML"
    r"|\beval\(|new Function|javascript:|setTimeout\(\s*[\"'`]"
)


@pytest.mark.parametrize("path", NODE_TESTS, ids=lambda path: path.name)
def test_passes_its_tests_in_node(path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node executable to run the dashboard's module tests (.ci/run brings it)")
    done = subprocess.run(
        [node, "--test", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_has_no_way_from_text_to_markup_or_code_and_under_300_lines(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not MARKUP_OR_CODE_FROM_TEXT.search(source)
    assert source.count("\n") < 300
