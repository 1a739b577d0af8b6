"""The database itself refuses an illegal change of a task's status, from wherever it comes."""

from django.db import migrations

ALLOWED = (
    ("pending", "running"),
    ("pending", "cancelled"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("failed", "pending"),
    ("cancelled", "pending"),
)
LEGAL = " OR ".join(f"(OLD.status = '{old}' AND NEW.status = '{new}')" for old, new in ALLOWED)

SQLITE = (
    f"""
    CREATE TRIGGER task_status_transition BEFORE UPDATE OF status ON tasks_task
    FOR EACH ROW WHEN OLD.status <> NEW.status AND NOT ({LEGAL})
    BEGIN SELECT RAISE(ABORT, 'illegal transition of a task''s status'); END
    """,
    """
    CREATE TRIGGER task_status_first BEFORE INSERT ON tasks_task
    FOR EACH ROW WHEN NEW.status <> 'pending'
    BEGIN SELECT RAISE(ABORT, 'a task begins as pending'); END
    """,
    """
    CREATE TRIGGER run_never_reopened BEFORE UPDATE OF state ON tasks_run
    FOR EACH ROW WHEN OLD.state = 'ended' AND NEW.state <> 'ended'
    BEGIN SELECT RAISE(ABORT, 'an ended run stays ended'); END
    """,
)
POSTGRESQL = (
    f"""
    CREATE FUNCTION task_status_transition() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.status <> 'pending' THEN
                RAISE EXCEPTION 'a task begins as pending' USING ERRCODE = 'check_violation';
            END IF;
        ELSIF OLD.status <> NEW.status AND NOT ({LEGAL}) THEN
            RAISE EXCEPTION 'illegal transition of a task''s status: % to %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER task_status_transition BEFORE INSERT OR UPDATE OF status ON tasks_task
    FOR EACH ROW EXECUTE FUNCTION task_status_transition()
    """,
    """
    CREATE FUNCTION run_never_reopened() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.state = 'ended' AND NEW.state <> 'ended' THEN
            RAISE EXCEPTION 'an ended run stays ended' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER run_never_reopened BEFORE UPDATE OF state ON tasks_run
    FOR EACH ROW EXECUTE FUNCTION run_never_reopened()
    """,
)
DROP = {
    "sqlite": (
        "DROP TRIGGER task_status_transition",
        "DROP TRIGGER task_status_first",
        "DROP TRIGGER run_never_reopened",
    ),
    "postgresql": (
        "DROP TRIGGER task_status_transition ON tasks_task",
        "DROP FUNCTION task_status_transition()",
        "DROP TRIGGER run_never_reopened ON tasks_run",
        "DROP FUNCTION run_never_reopened()",
    ),
}
CREATE = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


def create(apps, schema_editor):
    for statement in CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def drop(apps, schema_editor):
    for statement in DROP[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
