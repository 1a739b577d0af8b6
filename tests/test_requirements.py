"""The locks: everything that is installed has a version and hashes, comes from no address of its own, and is
what runs here. Works offline; whether a version has a known hole is asked elsewhere (see SECURITY.md)."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
LOCKS = ("base", "dev")
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(?P<version>\S+?)(?: ; (?P<marker>.+?))?$")
NOT_OURS = {"pip", "setuptools", "wheel"}
"""What a virtual environment brings itself."""


def locked(lock: str) -> dict[str, tuple[str, str, list[str]]]:
    """Name → version, marker and hashes."""
    text = (REQUIREMENTS / f"{lock}.txt").read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, str, list[str]]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        entry = ENTRY.match(requirement.strip())
        assert entry, f"{lock}.txt: {requirement!r} is not pinned by `name==version`"
        found[canonicalize_name(entry["name"])] = (entry["version"], entry["marker"] or "", hashes)
    return found


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
    wanted = {
        name: version
        for lock in LOCKS
        for name, (version, marker, _) in locked(lock).items()
        if not marker or Marker(marker).evaluate()
    }
    installed = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}
    installed = {name: version for name, version in installed.items() if name not in NOT_OURS}
    assert installed == wanted


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
