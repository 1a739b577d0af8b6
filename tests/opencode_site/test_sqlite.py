"""SQLite as the settings open it."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction


@pytest.mark.django_db(transaction=True)
def test_opens_a_connection_while_somebody_writes() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a PostgreSQL server opens connections whatever its transactions do")
    counted = threading.Event()

    def read() -> None:
        assert User.objects.count() == 0
        counted.set()
        connection.close()

    with transaction.atomic():
        User.objects.create_user("somebody")
        reader = threading.Thread(target=read)
        reader.start()
        # Well below the 30 s that a connection waits for a lock.
        assert counted.wait(10)
    reader.join()


@pytest.mark.django_db(transaction=True)
def test_gives_up_after_the_time_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no one writer at a time")
    failed: list[str] = []

    def write() -> None:
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.3)
        try:
            with transaction.atomic():
                pass
        except OperationalError as error:
            failed.append(str(error))
        # It waits for single statements as long as before, and is as good as new.
        connection.close()

    with transaction.atomic():
        User.objects.count()
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(10)
    assert failed == ["database is locked"]
