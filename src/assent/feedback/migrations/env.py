"""Runs migrations on the connection, and inside the transaction, that :mod:`assent.feedback.opening` hands over."""

from alembic import context

from assent.feedback.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    # SQLite alters a table by copying it.
    render_as_batch=True,
)
context.run_migrations()
