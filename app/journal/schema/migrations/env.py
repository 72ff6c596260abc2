"""Alembic's environment: it always gets the journal's own connection."""

from alembic import context

from app.journal.schema.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters tables by copying them
)
context.run_migrations()
