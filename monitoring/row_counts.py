"""How many rows a table has, by some of its columns, kept by the database itself.

To count 5 million rows takes a hundred times as long as everything else that a page of them needs. Triggers
see every writer, also one past Django. SQLite, where one writes at a time, keeps one row for each combination
of values. On PostgreSQL such a row would be a lock that each writer holds until its end, and they come upon
those rows in any order; there each statement adds a row with its difference, and `fold` adds them up.
"""

# Names in SQL are those of our own tables and columns.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.models import QuerySet, Sum

MANY = 200
"""Rows from which adding them up is worth a write."""


class RowCount(models.Model):
    """So many rows more, or fewer, with the values of the other columns. Written by triggers only."""

    number = models.BigIntegerField()

    class Meta:
        abstract = True


def counted(counts: QuerySet[Any]) -> int:
    """The number of rows that they tell of."""
    return counts.aggregate(sum=Sum("number"))["sum"] or 0


def fold(counts: type[RowCount]) -> None:
    """Adds up the differences that PostgreSQL's triggers have noted; for readers the sum stays the same."""
    if connection.vendor != "postgresql" or counts._default_manager.count() < MANY:
        return
    table = counts._meta.db_table
    others = [field for field in counts._meta.fields if not field.primary_key and field.name != "number"]
    columns = ", ".join(field.attname for field in others)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH gone AS (DELETE FROM {table} RETURNING {columns}, number) INSERT INTO {table} "
            f"({columns}, number) SELECT {columns}, sum(number) FROM gone GROUP BY {columns}"
        )


class KeepRowCount(Operation):
    """A migration's step: `counts`, a table of `RowCount`, follows `table` from now on."""

    def __init__(self, table: str, counts: str, columns: Sequence[str]) -> None:
        self.table, self.counts, self.columns = table, counts, columns

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Changes no model."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        vendor = schema_editor.connection.vendor
        statements = self._sqlite() if vendor == "sqlite" else self._postgresql()
        columns = ", ".join(self.columns)
        for statement in statements:
            schema_editor.execute(statement, params=None)
        schema_editor.execute(
            f"INSERT INTO {self.counts} ({columns}, number) "
            f"SELECT {columns}, count(*) FROM {self.table} GROUP BY {columns}"
        )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        on = "" if schema_editor.connection.vendor == "sqlite" else f" ON {self.table}"
        kinds = ["added", "removed", "changed", *(["emptied"] if on else [])]
        for kind in kinds:
            schema_editor.execute(f"DROP TRIGGER {self.counts}_{kind}{on}")
        for kind in kinds if on else ():
            schema_editor.execute(f"DROP FUNCTION {self.counts}_{kind}()")

    def describe(self) -> str:
        return f"Lets {self.counts} count the rows of {self.table}"

    def _sqlite(self) -> list[str]:
        columns = ", ".join(self.columns)

        def same(row: str) -> str:
            return " AND ".join(f"{name} = {row}.{name}" for name in self.columns)

        values = ", ".join(f"NEW.{name}" for name in self.columns)
        changed = " OR ".join(f"OLD.{name} <> NEW.{name}" for name in self.columns)
        more = f"""
            UPDATE {self.counts} SET number = number + 1 WHERE {same("NEW")};
            INSERT INTO {self.counts} ({columns}, number) SELECT {values}, 1 WHERE changes() = 0;
        """
        # A row that is counted nowhere is no mistake: `flush` may have emptied the table of counts first.
        less = f"UPDATE {self.counts} SET number = number - 1 WHERE {same('OLD')};"
        return [
            f"CREATE TRIGGER {self.counts}_{kind} AFTER {event} ON {self.table} FOR EACH ROW {does} END"
            for kind, event, does in (
                ("added", "INSERT", f"BEGIN {more}"),
                ("removed", "DELETE", f"BEGIN {less}"),
                ("changed", f"UPDATE OF {columns}", f"WHEN {changed} BEGIN {less} {more}"),
            )
        ]

    def _postgresql(self) -> list[str]:
        columns = ", ".join(self.columns)
        into = f"INSERT INTO {self.counts} ({columns}, number)"
        each = f"GROUP BY {columns}"
        statements = []
        for kind, event, does in (
            (
                "added",
                "INSERT ON {table} REFERENCING NEW TABLE AS these FOR EACH STATEMENT",
                f"{into} SELECT {columns}, count(*) FROM these {each}",
            ),
            (
                "removed",
                "DELETE ON {table} REFERENCING OLD TABLE AS these FOR EACH STATEMENT",
                f"{into} SELECT {columns}, -count(*) FROM these {each}",
            ),
            (
                "changed",
                # PostgreSQL does not tell a statement's trigger which columns were meant.
                "UPDATE ON {table} REFERENCING OLD TABLE AS those NEW TABLE AS these FOR EACH STATEMENT",
                f"{into} SELECT {columns}, sum(one) FROM (SELECT {columns}, -1 AS one FROM those "
                f"UNION ALL SELECT {columns}, 1 FROM these) AS moved {each} HAVING sum(one) <> 0",
            ),
            ("emptied", "TRUNCATE ON {table} FOR EACH STATEMENT", f"DELETE FROM {self.counts}"),
        ):
            name = f"{self.counts}_{kind}"
            body = f"BEGIN {does}; RETURN NULL; END"
            statements += [
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
                f"CREATE TRIGGER {name} AFTER {event.format(table=self.table)} EXECUTE FUNCTION {name}()",
            ]
        return statements
