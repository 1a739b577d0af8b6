"""The tests do not touch what the developer works with."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.isolation import SESSION_DIR


def test_keeps_its_data_in_a_directory_of_its_own() -> None:
    assert Path(settings.DATA_DIR) == SESSION_DIR / "data"


def test_keeps_its_database_there_too() -> None:
    assert connection.vendor != "sqlite" or str(connection.settings_dict["NAME"]).startswith(str(SESSION_DIR))
