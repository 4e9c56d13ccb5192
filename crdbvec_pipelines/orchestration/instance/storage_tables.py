"""The tables of Dagster's storage, also if the process that creates them is killed.

dagster-postgres creates each table in a transaction of its own, and later looks for one of them only. A process killed
in between, as by two signals at the first start, would leave a storage that no later process can use or complete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import pg_alembic_config, retry_pg_connection_fn
from sqlalchemy import Connection, NullPool, create_engine, inspect

from crdbvec_pipelines.orchestration.instance.dagster_internals import (
    STORAGE_METADATA,
    check_alembic_revision,
    stamp_alembic_rev,
)

# Any number that no other program is likely to use for a lock in Dagster's database.
_LOCK = 0x6372_6462


@contextmanager
def complete_tables(url: str) -> Iterator[bool]:
    """Create the tables that are missing in a new storage or in one whose creation was interrupted.

    All tables are created in one transaction. Their revision is written at the end of the context, so that a process
    that is killed before leaves a storage that the next one completes. A storage of an older revision is left to
    `dagster instance migrate`.

    Args:
        url: The URL of the storage, as SQLAlchemy accepts it.

    Yields:
        Whether the storage is new or incomplete, so that its indexes are to be migrated within the context.

    Raises:
        DagsterPostgresException: The server cannot be reached.
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with retry_pg_connection_fn(engine.connect) as connection:
        if _is_complete(connection):
            yield False
            return
        # Released with the connection.
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
        if _is_complete(connection):
            yield False
            return
        with create_engine(url, poolclass=NullPool).begin() as transaction:
            for metadata in STORAGE_METADATA:
                metadata.create_all(transaction)
                for table in metadata.tables.values():
                    for index in table.indexes:
                        index.create(transaction, checkfirst=True)
        yield True
        stamp_alembic_rev(_alembic_config(), connection)


def _is_complete(connection: Connection) -> bool:
    revision, latest = check_alembic_revision(_alembic_config(), connection)
    if revision is None:
        return False
    names = {name for metadata in STORAGE_METADATA for name in metadata.tables}
    return revision != latest or names.issubset(inspect(connection).get_table_names())


def _alembic_config() -> Any:
    return pg_alembic_config(run_storage.__file__)
