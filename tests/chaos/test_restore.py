"""Only one of the two databases is restored from a backup: maintenance makes rows and partitions agree again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.keyspace import in_key_order
from tests.orchestration.columns import BackfilledColumn, has_its_vector
from tests.orchestration.daemon import prepare_home
from tests.orchestration.project import Project
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.servers import RestartableServer
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text

PARTITION_ROWS = 20
PARTITIONS = 5
ROWS = PARTITIONS * PARTITION_ROWS
# Rows in the first partitions, edited before the backup and not embedded again when it is made.
EDITED_BEFORE = range(3, 30, 7)
EDITED_AFTER = range(4, ROWS, 9)
LATER_ROWS = 3 * PARTITION_ROWS


@dataclass(frozen=True)
class Restorable:
    """A table and Dagster's storage, in databases of two servers, and no process that uses them."""

    config: Path
    url: str
    tables: RestartableServer
    dagster_url: str
    storage: RestartableServer
    calls: CallLog

    @contextmanager
    def column(self) -> Iterator[BackfilledColumn]:
        """Open the prepared column on a Dagster instance."""
        with dg.DagsterInstance.get() as instance, psycopg.connect(self.url, autocommit=True) as connection:
            yield BackfilledColumn(self.config, instance, connection, self.calls, "passage_vector")

    def embed(self, partitions: slice) -> None:
        """Materialize partitions of the column."""
        with self.column() as column:
            for key in column.partitions[partitions]:
                assert column.project.run("encode_in_process", partition_key=key).success

    def write(self, edited: Sequence[int], inserted: Sequence[int], suffix: str) -> None:
        """Edit and insert rows, as an application does."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for number in edited:
                set_text(connection, INT_SHAPE, number, f"passage {number} {suffix}")
            insert_rows(connection, INT_SHAPE, {number: f"passage {number}" for number in inserted})

    def maintain(self) -> int:
        """Run the maintenance job, and return how many rows it has encoded."""
        before = len(self.calls.inputs())
        with dg.DagsterInstance.get() as instance:
            assert Project(load_config(self.config), instance).run("maintain").success
        return len(self.calls.inputs()) - before

    def pending(self) -> int:
        """Return the number of rows whose vector is missing or of another text."""
        with self.column() as column:
            texts = column.texts()
            found = column.vectors()
            return sum(not has_its_vector(found[key], text) for key, text in texts.items())

    def assert_everything_is_complete(self) -> None:
        """Assert that each row has its vector, and that the partitions cover the table and are all materialized."""
        with self.column() as column:
            column.assert_each_row_has_its_vector()
            ordered = in_key_order(column.ranges.values())
            assert ordered is not None
            assert len(ordered) == len(column.partitions)
            materialized = column.instance.get_materialized_partitions(column.project.asset)
            assert materialized & set(column.partitions) == set(column.partitions)


@pytest.fixture
def restorable(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables_server: RestartableServer,
    storage_server: RestartableServer,
    calls: CallLog,
) -> Iterator[Restorable]:
    """A table with rows, half of them embedded, and some of those edited since."""
    config = write_config(tmp_path, {"partitions": {"target_rows": PARTITION_ROWS}})
    with tables_server.new_database() as url, storage_server.new_database() as storage:
        for name, value in prepare_home(tmp_path, config, url, storage).items():
            monkeypatch.setenv(name, value)
        with psycopg.connect(url, autocommit=True) as connection:
            create_table(connection, INT_SHAPE, [f"passage {number}" for number in range(ROWS)])
        made = Restorable(config, url, tables_server, storage, storage_server, calls)
        made.embed(slice(0, 2))
        made.write(EDITED_BEFORE, [], "edited")
        yield made


@contextmanager
def restored(server: RestartableServer, url: str) -> Iterator[None]:
    """Back a database up, and restore it at the end of the block."""
    name = urlsplit(url).path.removeprefix("/")
    backup = f"{name}_backup"
    server.copy_database(name, backup)
    yield
    server.drop_database(name)
    server.copy_database(backup, name)
    server.drop_database(backup)


def test_tables_are_restored_and_the_storage_of_dagster_is_newer(restorable: Restorable) -> None:
    with restored(restorable.tables, restorable.url):
        restorable.write(EDITED_AFTER, range(ROWS, ROWS + LATER_ROWS), "edited again")
        restorable.maintain()
        restorable.assert_everything_is_complete()
    # Every partition is materialized, and rows of each are pending.
    pending = restorable.pending()
    assert pending == ROWS - 2 * PARTITION_ROWS + len(EDITED_BEFORE)
    assert restorable.maintain() == pending
    restorable.assert_everything_is_complete()
    # The table grows again into the partitions that are newer than it.
    restorable.write([], range(ROWS, ROWS + LATER_ROWS), "")
    assert restorable.maintain() == LATER_ROWS
    restorable.assert_everything_is_complete()


def test_storage_of_dagster_is_restored_and_the_tables_are_newer(restorable: Restorable) -> None:
    with restored(restorable.storage, restorable.dagster_url):
        restorable.write(EDITED_AFTER, range(ROWS, ROWS + LATER_ROWS), "edited again")
        restorable.maintain()
        restorable.assert_everything_is_complete()
    # Every row is embedded, and only the partitions of the backup are known and materialized.
    with dg.DagsterInstance.get() as instance:
        project = Project(load_config(restorable.config), instance)
        assert len(project.partitions) == PARTITIONS
        assert len(project.materialized()) == 2
    assert restorable.maintain() == 0
    restorable.assert_everything_is_complete()
