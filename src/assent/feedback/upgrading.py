"""Bringing a database to the newest schema: the only part of the store that needs alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from assent.errors import StoreError
from assent.feedback.tables import VERSION_TABLE, metadata

_LOCK = 0x617373656E74  # any fixed number will do for PostgreSQL's advisory lock; this one spells "assent"
_NOT_A_STORE = "is not a feedback store but some other database; give the address of a store, or of a new one to make"


def upgrade(engine: Engine, shown: str) -> None:
    """Make the tables of a new store, or change those of an older one.  ``shown``: the address, for messages.

    Raises :class:`StoreError` for a database that is no store, or was written by a newer version.
    """
    config = Config()
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        connection = connection.execution_options(assent_write=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _check_upgradable(connection, script, shown)
            config.attributes.update(connection=connection, version_table=VERSION_TABLE)
            command.upgrade(config, "head")


def _check_upgradable(connection: Connection, script: ScriptDirectory, shown: str) -> None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision()
    if current is None:
        there = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
        # A PostgreSQL database is often shared with others; a SQLite file is not.
        if there & set(metadata.tables) or (there and connection.dialect.name == "sqlite"):
            raise StoreError(f"{shown} {_NOT_A_STORE}")
    elif current not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreError(
            f"{shown}: written by a newer assent (schema {current}, this one knows up to {script.get_current_head()}); "
            "upgrade assent to open it"
        )
