"""Lets SQLite give room back page by page.

Kept in the file's header, so it is set once: as a part of opening a connection it takes the write lock, and whoever
came while somebody wrote waited for that (measured: the whole transaction of the other, up to the busy timeout).
"""

from django.db import migrations


def set_auto_vacuum(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        with schema_editor.connection.cursor() as cursor:
            if cursor.execute("PRAGMA auto_vacuum").fetchone() != (2,):
                # On a database that has tables the first takes effect by the second.
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
                cursor.execute("VACUUM")


class Migration(migrations.Migration):
    atomic = False  # VACUUM works outside of a transaction only

    dependencies = [("monitoring", "0003_min_free")]

    operations = [migrations.RunPython(set_auto_vacuum, migrations.RunPython.noop, elidable=False)]
