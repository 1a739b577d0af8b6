"""The locks: everything that is installed has a version and hashes, comes from no address of its own, and is
what runs here. Works offline; whether a version has a known hole is asked elsewhere (see SECURITY.md)."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from opencode_site.supply import REQUIREMENTS, differences, installed, locked, wanted

LOCKS = ("base", "dev")


@pytest.mark.parametrize("lock", LOCKS)
def test_holds_hashes_of_everything_and_no_address(lock: str) -> None:
    entries = locked(lock)
    assert len(entries) > 20
    for name, (_, _, hashes) in entries.items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name
    text = (REQUIREMENTS / f"{lock}.txt").read_text()
    assert not re.search(
        r"://|^\s*(-e|--index-url|--extra-index-url|--find-links|--trusted-host)", text, re.M
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_everything_that_is_asked_for(lock: str) -> None:
    lines = (REQUIREMENTS / f"{lock}.in").read_text().splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    entries = locked(lock)
    for requirement in asked:
        version, _, _ = entries[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_runs_what_is_locked_and_nothing_else() -> None:
    assert installed() == {**wanted("base"), **wanted("dev")}
    assert differences() == []


def test_locks_no_version_with_a_known_hole_that_we_care_for() -> None:
    """Daphne before 4.2.2: unbounded messages (CVE-2026-44545), header smuggling (CVE-2026-44546)."""
    version, _, _ = locked("base")["daphne"]
    assert tuple(map(int, version.split("."))) >= (4, 2, 2)


def test_installs_with_hashes_only() -> None:
    makefile = (REQUIREMENTS.parent / "Makefile").read_text()
    installs = re.findall(r"^INSTALL := .*$", makefile, re.M)
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[0]
