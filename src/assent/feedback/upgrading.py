"""Bringing an older store to the newest schema: the only part that needs alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from assent.errors import StoreError
from assent.feedback.opening import making
from assent.feedback.tables import VERSION_TABLE


def upgrade(engine: Engine, shown: str) -> None:
    """Change the tables of an older store.  ``shown``: the address, for messages.

    Raises :class:`StoreError` for one that was written by a newer version.
    """
    config = Config()
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    with making(engine) as connection:
        current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise StoreError(
                f"{shown}: written by a newer assent (schema {current}, this one knows up to "
                f"{script.get_current_head()}); upgrade assent to open it"
            )
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        command.upgrade(config, "head")
