"""Where opencode's native executable is, given how it was installed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

NAME: Final = "opencode"
NPM_PACKAGE: Final = "opencode-ai"
_NATIVE: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""First bytes of executables for Linux and macOS."""
_SYSTEMS: Final = {"linux": "linux", "darwin": "darwin"}
_MACHINES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def find_binary(*, configured: str, search_path: str) -> Path | None:
    """The executable that `configured` means, or the one on the path; of an npm package the native one.

    `npm install opencode-ai` leaves a stub that only explains itself if the package's install script was not
    allowed to run; the program itself lies in an optional package for the platform beside it.
    """
    if os.sep in configured:
        given = Path(os.path.abspath(Path(configured).expanduser()))
        found = given if _executable(given) else None
    else:
        which = shutil.which(configured or NAME, path=search_path)
        found = Path(os.path.abspath(which)) if which else None
    return _native(found) if found else None


def _native(found: Path) -> Path | None:
    package = _npm_package(found)
    if package is None or _start(found) in _NATIVE:
        return found
    own = [package / "bin" / "opencode.exe", package / "bin" / NAME]
    names = platform_packages(sys.platform, platform.machine(), avx2=_has_avx2(), musl=_is_musl())
    beside = [
        modules / name / "bin" / NAME
        for name in names
        for modules in (package.parent, package / "node_modules")
    ]
    for binary in own + beside:
        if _executable(binary) and _start(binary) in _NATIVE:
            return binary
    # Older packages hold a script that runs by itself; the stub of newer ones has no interpreter line.
    runs_by_itself = found.resolve().is_relative_to(package) and _start(found).startswith(b"#!")
    return found if runs_by_itself else None


def _npm_package(found: Path) -> Path | None:
    """The directory of the npm package that `found` belongs to: it lies in it, or starts it from `.bin`."""
    inside = found.resolve().parent.parent
    if inside.name == NPM_PACKAGE:
        return inside
    beside = found.parent.parent / NPM_PACKAGE
    return beside.resolve() if found.parent.name == ".bin" and beside.is_dir() else None


def platform_packages(system: str, machine: str, *, avx2: bool, musl: bool) -> list[str]:
    """The names of the optional packages that can run here, the best first.

    As opencode-ai 1.18.33's own postinstall.mjs orders them.
    """
    platform_name, arch = _SYSTEMS.get(system), _MACHINES.get(machine.lower())
    if platform_name is None or arch is None:
        return []
    base = f"{NAME}-{platform_name}-{arch}"
    variants = [""] if arch == "arm64" else ["", "-baseline"] if avx2 else ["-baseline", ""]
    if platform_name != "linux":
        return [base + variant for variant in variants]
    libraries = ["-musl", ""] if musl else ["", "-musl"]
    return [base + variant + library for library in libraries for variant in variants]


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:  # executable, but not readable
        return b""


def _has_avx2() -> bool:
    try:
        return " avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def _is_musl() -> bool:
    return any(Path("/lib").glob("ld-musl-*"))
