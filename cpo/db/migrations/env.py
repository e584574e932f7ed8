"""Runs migrations on the connection that `cpo.db.migrate` gives."""

from alembic import context

from cpo.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=False,
)
with context.begin_transaction():
    context.run_migrations()
