"""Alembic's entry: one transaction under one lock, so that two starters do not both migrate."""

import sqlalchemy
from alembic import context

from controlplane.store.tables import METADATA

_LOCK = 0x42554E4B
"""Any constant: the advisory lock that means "this database is being migrated"."""


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        context.configure(connection=connection, target_metadata=METADATA)
        context.run_migrations()


run()
