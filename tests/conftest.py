"""What every test may rely on: real binaries or a told reason, a database of its own, and no silent skips."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

OPENCODE = os.environ.get("OPENCODE_BIN") or shutil.which("opencode")
POSTGRES = os.environ.get("OPENCODE_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432")
REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "0") not in {"", "0"}


def pytest_make_parametrize_id(val: object) -> str | None:
    """pytest-xdist takes what stands before the last `::` for the module, also within an IPv6 address."""
    return val.replace("::", ":0:") if isinstance(val, str) and "::" in val else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_ALL=1 a skip is a failure that says its reason."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and REQUIRE_ALL is set: {reason.removeprefix('Skipped: ')}"
        )
    return report


@pytest.fixture(scope="session")
def opencode_binary() -> Path:
    """The real opencode executable: OPENCODE_BIN, or what is on the PATH."""
    if not OPENCODE:
        pytest.skip("there is no opencode executable: set OPENCODE_BIN or put it on the PATH (.ci/run does)")
    path = Path(OPENCODE).resolve()
    if not os.access(path, os.X_OK):
        pytest.fail(f"OPENCODE_BIN is {OPENCODE!r}, which is not an executable file")
    return path


@pytest.fixture(scope="session")
def _postgres_server() -> str:
    try:
        psycopg.connect(f"{POSTGRES}/postgres", connect_timeout=3).close()
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {POSTGRES}: {' '.join(str(error).split())}")
    return POSTGRES


@pytest.fixture
def postgres_url(_postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own; dropped at the end, used or not."""
    name = f"opencode_test_{secrets.token_hex(6)}"
    with psycopg.connect(f"{_postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{_postgres_server}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
