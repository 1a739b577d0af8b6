"""Finds the opencode that can be run, however it was installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.agents.opencode import OpenCode
from tasks.agents.opencode_binary import platform_packages

NATIVE = b"\x7fELF and so on"
STUB = b'echo "Error: opencode-ai\'s postinstall script was not run." >&2\nexit 1\n'


def executable(path: Path, content: bytes = NATIVE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def link(path: Path, target: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))
    return path


def find(configured: str = "", *directories: Path) -> Path | None:
    return OpenCode().find(configured=configured, search_path=os.pathsep.join(map(str, directories)))


@pytest.fixture(params=platform_packages("linux", os.uname().machine, avx2=True, musl=False))
def platform_package(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_finds_it_on_the_path(tmp_path: Path) -> None:
    program = executable(tmp_path / "bin" / "opencode")

    assert find("", tmp_path, program.parent) == program


def test_finds_nothing_where_nothing_is(tmp_path: Path) -> None:
    assert find("", tmp_path) is None
    assert find("") is None


def test_takes_the_configured_path_and_no_other(tmp_path: Path) -> None:
    on_path = executable(tmp_path / "bin" / "opencode")
    configured = executable(tmp_path / "mine" / "agent", b"#!/bin/sh\n")

    assert find(str(configured), on_path.parent) == configured
    assert find(str(tmp_path / "gone" / "opencode"), on_path.parent) is None


def test_makes_a_relative_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = executable(tmp_path / "bin" / "opencode")
    monkeypatch.chdir(tmp_path)

    assert find("bin/opencode") == program
    assert find("", Path("bin")) == program


def test_looks_a_bare_name_up_on_the_path(tmp_path: Path) -> None:
    program = executable(tmp_path / "opencode-next")

    assert find("opencode-next", tmp_path) == program


def test_refuses_what_cannot_be_executed(tmp_path: Path) -> None:
    program = executable(tmp_path / "opencode")
    program.chmod(0o644)

    assert find(str(program)) is None
    assert find("", tmp_path) is None
    assert find(str(tmp_path)) is None


def test_runs_the_npm_package_whose_install_script_ran(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    wrapper = link(
        modules / ".bin" / "opencode", executable(modules / "opencode-ai" / "bin" / "opencode.exe")
    )

    assert find("", wrapper.parent) == wrapper


def test_runs_the_native_program_beside_a_stub(tmp_path: Path, platform_package: str) -> None:
    modules = tmp_path / "node_modules"
    native = executable(modules / platform_package / "bin" / "opencode")
    wrapper = link(
        modules / ".bin" / "opencode", executable(modules / "opencode-ai" / "bin" / "opencode.exe", STUB)
    )

    assert find("", wrapper.parent) == native
    assert find(str(wrapper)) == native


def test_looks_inside_the_package_of_a_global_installation(tmp_path: Path, platform_package: str) -> None:
    package = tmp_path / "lib" / "node_modules" / "opencode-ai"
    native = executable(package / "node_modules" / platform_package / "bin" / "opencode")
    wrapper = link(tmp_path / "bin" / "opencode", executable(package / "bin" / "opencode.exe", STUB))

    assert find("", wrapper.parent) == native


def test_sees_through_the_shell_script_of_another_package_manager(
    tmp_path: Path, platform_package: str
) -> None:
    store = tmp_path / "node_modules" / ".pnpm" / "opencode-ai@1" / "node_modules"
    executable(store / "opencode-ai" / "bin" / "opencode.exe", STUB)
    native = executable(store / platform_package / "bin" / "opencode")
    link(tmp_path / "node_modules" / "opencode-ai", store / "opencode-ai")
    script = executable(tmp_path / "node_modules" / ".bin" / "opencode", b"#!/bin/sh\n")

    assert find("", script.parent) == native


def test_does_not_run_a_stub_without_its_native_program(tmp_path: Path) -> None:
    stub = executable(tmp_path / "node_modules" / "opencode-ai" / "bin" / "opencode.exe", STUB)

    assert find(str(stub)) is None


def test_runs_the_script_of_an_older_package(tmp_path: Path) -> None:
    script = executable(tmp_path / "opencode-ai" / "bin" / "opencode", b"#!/usr/bin/env node\n")

    assert find(str(script)) == script


@pytest.mark.parametrize(
    ("system", "machine", "avx2", "musl", "names"),
    [
        ("linux", "x86_64", True, False, ["", "-baseline", "-musl", "-baseline-musl"]),
        ("linux", "x86_64", False, False, ["-baseline", "", "-baseline-musl", "-musl"]),
        ("linux", "x86_64", True, True, ["-musl", "-baseline-musl", "", "-baseline"]),
        ("linux", "x86_64", False, True, ["-baseline-musl", "-musl", "-baseline", ""]),
    ],
)
def test_prefers_the_package_that_fits_the_processor_and_the_library(
    system: str, machine: str, avx2: bool, musl: bool, names: list[str]
) -> None:
    assert platform_packages(system, machine, avx2=avx2, musl=musl) == [
        f"opencode-linux-x64{name}" for name in names
    ]


def test_knows_other_platforms() -> None:
    def names(system: str, machine: str) -> list[str]:
        return platform_packages(system, machine, avx2=True, musl=False)

    assert names("linux", "aarch64") == ["opencode-linux-arm64", "opencode-linux-arm64-musl"]
    assert names("darwin", "arm64") == ["opencode-darwin-arm64"]
    assert names("darwin", "x86_64") == ["opencode-darwin-x64", "opencode-darwin-x64-baseline"]
    assert names("sunos5", "sun4v") == []
