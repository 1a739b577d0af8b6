"""The locks against what is installed. Works offline; SECURITY.md says how to ask for known holes."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(?P<version>\S+?)(?: ; (?P<marker>.+?))?$")
NOT_OURS = {"pip", "setuptools", "wheel"}
"""What a virtual environment brings itself."""


def locked(lock: str) -> dict[str, tuple[str, str, list[str]]]:
    """Name → version, marker and hashes. Raises `ValueError` for a line that pins nothing."""
    text = (REQUIREMENTS / f"{lock}.txt").read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, str, list[str]]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        entry = ENTRY.match(requirement.strip())
        if entry is None:
            raise ValueError(f"{lock}.txt: {requirement!r} is not pinned by `name==version`")
        found[canonicalize_name(entry["name"])] = (entry["version"], entry["marker"] or "", hashes)
    return found


def wanted(lock: str) -> dict[str, str]:
    """Name → version of what a lock asks for on this machine."""
    return {
        name: version
        for name, (version, marker, _) in locked(lock).items()
        if not marker or Marker(marker).evaluate()
    }


def installed() -> dict[str, str]:
    """Name → version of what this interpreter finds, without what brings packages."""
    found = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}
    return {name: version for name, version in found.items() if name not in NOT_OURS}


def differences() -> list[str]:
    """What is installed otherwise than locked, a line for each. The tests' packages may be there or not."""
    here, server, tests = installed(), wanted("base"), wanted("dev")
    lines = [f"{name} {version} is missing" for name, version in server.items() if name not in here]
    for name, version in sorted(here.items()):
        locked_version = server.get(name) or tests.get(name)
        if locked_version is None:
            lines.append(f"{name} {version} is in no lock")
        elif version != locked_version:
            lines.append(f"{name} is {version}, locked is {locked_version}")
    return lines
