"""The backend that `ENGINE` names. Every transaction of it begins with the lock for writing."""

from __future__ import annotations

import sqlite3
import time

from django.db.backends.sqlite3 import base

PAUSE = 0.0005
"""Seconds between two attempts to begin a transaction. SQLite's own busy handler sleeps longer with each, up
to a tenth of a second: with a few writers nobody wrote for most of the time (60 % of a burst of `start_task`,
measured with py-spy)."""


class DatabaseWrapper(base.DatabaseWrapper):
    """A writing transaction begins as soon as it can, and waits as long as the option `timeout` says."""

    def _start_transaction_under_autocommit(self) -> None:
        patience: float = self.settings_dict["OPTIONS"]["timeout"]
        with self.wrap_database_errors:
            self.connection.execute("PRAGMA busy_timeout = 0")
            try:
                self._begin(time.monotonic() + patience)
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")

    def _begin(self, deadline: float) -> None:
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                # The codes of `SQLITE_BUSY_…` have it in their lowest byte.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
            else:
                return
