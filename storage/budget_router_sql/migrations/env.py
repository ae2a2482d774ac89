"""How alembic meets the ledger: on the connection it is handed, inside the transaction that is open there."""

from alembic import context

from budget_router_sql.schema import VERSION_TABLE, metadata


def run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # so alembic calls it; whoever else imports the file, as doctest does, runs nothing
    run()
