"""The host's upkeep thread outlives whatever goes wrong around it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitoring.about import AboutFilter
from tasks.execution.host import HostUpkeep
from tasks.models import Run, RunState
from tests.support.waiting import eventually
from tests.tasks.execution.conftest import Spooled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def upkeep(settings: Any) -> Iterator[HostUpkeep]:
    # The disk of the machine that runs the tests may be nearly full: nothing is started here anyway.
    settings.MAX_CONCURRENT_AGENTS = 1
    thread = HostUpkeep()
    yield thread
    thread.stop()
    thread.join(20)


until = partial(eventually, patience=30.0)


def outcome() -> str | None:
    return Run.objects.values_list("outcome", flat=True).get()


def test_follows_a_run_that_was_claimed_before_any_spool_was_there(
    spooled: Spooled, upkeep: HostUpkeep
) -> None:
    followed = spooled()
    directory, kept = followed.directory, followed.directory.parent.with_name("kept")
    directory.parent.rename(kept)
    upkeep.start()
    # It makes the place that it watches; the launcher's files appear there afterwards.
    until("nothing is watched", directory.parent.is_dir)
    (kept / directory.name).rename(directory)
    (directory / "exit.json").write_text('{"code": 0}')
    until("the run did not end", lambda: outcome() is not None)


def test_goes_on_where_its_spool_cannot_be_watched(
    spooled: Spooled, upkeep: HostUpkeep, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    followed = spooled(started="", exit_json={"code": 0})
    runs, kept = followed.directory.parent, tmp_path / "kept"
    Run.objects.update(state=RunState.STARTING)
    runs.rename(kept)
    runs.write_text("a file where the directory should be")
    upkeep.start()
    until("it met no trouble", lambda: "could not do its work" in caplog.text)
    assert upkeep.is_alive()
    runs.unlink()
    kept.rename(runs)
    until("the run did not end", lambda: outcome() is not None)


def test_looks_after_the_others_where_one_run_is_odd(
    spooled: Spooled, upkeep: HostUpkeep, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(AboutFilter())
    odd = spooled("odd", agent_json={"pid": 1})
    spooled("well", started="", exit_json={"code": 0})
    upkeep.start()
    until("the others wait", lambda: not Run.objects.filter(task_id="well", outcome=None).exists())
    until("nobody says why", lambda: ("odd", str(odd.run.pk)) in complaints(caplog))
    assert set(complaints(caplog)) == {("odd", str(odd.run.pk))}


def complaints(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Task and run of each that could not be looked after."""
    said = [record for record in caplog.records if "could not be looked after" in record.getMessage()]
    return [(record.__dict__["task"], record.__dict__["run"]) for record in said]
