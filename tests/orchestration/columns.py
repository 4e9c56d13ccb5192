"""A vector column whose backfills and runs a Dagster daemon executes, as its tests see it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import dagster as dg
import numpy as np
import psycopg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.keyspace import Bound, KeyRange, parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import QUEUE_TAG
from tests.orchestration.project import Project
from tests.support.models import CallLog, stub_vector
from tests.support.tables import INT_SHAPE, Key, vectors

ENDED = (
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
    BulkActionStatus.CANCELED,
)


def is_in(key: Bound, part: KeyRange) -> bool:
    """Return whether a key range contains a key."""
    return (not part.lower or key >= part.lower) and (not part.upper or key < part.upper)


def has_its_vector(vector: NDArray[np.float32] | None, text: str) -> bool:
    """Return whether a vector is that of a text, which is computed again."""
    return vector is not None and np.array_equal(vector, stub_vector(text))


class BackfilledColumn:
    """A vector column of a table with one integer as key, prepared and with partitions.

    Args:
        config: The configuration file.
        instance: Dagster's instance.
        connection: A connection to the database with the table.
        calls: The log of the calls of the stub models.
        output: The name of the column.
    """

    def __init__(
        self, config: Path, instance: dg.DagsterInstance, connection: psycopg.Connection, calls: CallLog, output: str
    ) -> None:
        self.instance = instance
        self.connection = connection
        self.calls = calls
        self.project = Project(load_config(config), instance, output)
        self.table = sql.Identifier("public", self.project.spec.table.name)
        self.project.prepare()
        self.read_partitions()

    def read_partitions(self) -> None:
        """Read the partitions again, after another process may have changed them."""
        self.partitions = self.project.partitions
        self.ranges = {key: parse_partition_key(key, self.project.spec.table) for key in self.partitions}

    def launch(self, *, queue: str | None = None, **tags: str) -> str:
        """Launch a backfill of all partitions, as the UI does, and return its id.

        Args:
            queue: The Celery queue of its runs, if it is not that of the entry.
            tags: Further tags, without Dagster's prefix.
        """
        backfill_id = uuid4().hex[:8]
        self.instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=backfill_id,
                asset_graph=self.project.definitions.resolve_asset_graph(),
                partition_names=self.partitions,
                asset_selection=[self.project.asset],
                backfill_timestamp=datetime.now(UTC).timestamp(),
                tags={
                    **({} if queue is None else {QUEUE_TAG: queue}),
                    **{f"dagster/{name}": value for name, value in tags.items()},
                },
                dynamic_partitions_store=self.instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        return backfill_id

    def cancel(self, backfill_id: str) -> None:
        """Cancel a backfill, as the UI does; the daemon then terminates its runs."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        self.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))  # type: ignore[no-untyped-call]

    def status(self, backfill_id: str) -> BulkActionStatus:
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        return backfill.status

    def runs(self, *backfill_ids: str) -> Sequence[dg.DagsterRun]:
        """Return the runs of backfills."""
        return self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": list(backfill_ids)}))

    def statuses(self, *backfill_ids: str) -> list[dg.DagsterRunStatus]:
        return [run.status for run in self.runs(*backfill_ids)]

    def partitions_of(self, run: dg.DagsterRun) -> list[str]:
        """Return the partitions of a run, which its tags name by the first and the last."""
        if "dagster/partition" in run.tags:
            return [run.tags["dagster/partition"]]
        first, last = (
            self.partitions.index(run.tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end")
        )
        return self.partitions[first : last + 1]

    def process(self, run: dg.DagsterRun) -> int:
        """Return the id of the process of a run's only step."""
        started = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
        (pid,) = {entry.get_dagster_event().pid for entry in started}
        assert pid is not None
        return pid

    def pending(self) -> Mapping[str, int]:
        """Return the number of rows without a vector, by partition."""
        found = self.connection.execute(
            sql.SQL("SELECT id FROM {} WHERE {} IS NULL").format(self.table, sql.Identifier(self.project.spec.output))
        ).fetchall()
        return {key: sum(is_in(row, part) for row in found) for key, part in self.ranges.items()}

    def assert_each_row_has_its_vector(self) -> None:
        """Compare the vectors with those that are computed again from the rows."""
        found, texts = self.vectors(), self.texts()
        assert found.keys() == texts.keys()
        wrong = {key: texts[key] for key, vector in found.items() if not has_its_vector(vector, texts[key])}
        assert wrong == {}

    def vectors(self) -> Mapping[Key, NDArray[np.float32] | None]:
        """Return the vector of each row by key."""
        return vectors(self.connection, INT_SHAPE, self.project.spec.output, self.table)

    def texts(self) -> Mapping[Key, str]:
        """Return the input of each row by key."""
        rows = self.connection.execute(sql.SQL("SELECT id, passage FROM {}").format(self.table)).fetchall()
        return {(key,): text for key, text in rows}

    @contextmanager
    def locked(self, *partitions: str) -> Iterator[psycopg.Connection]:
        """Lock the first row of partitions, so that no run can complete them; yield the connection that locks."""
        rows = self.texts().keys()
        keys = [min(key for key in rows if is_in(key, self.ranges[partition]))[0] for partition in partitions]
        with psycopg.connect(self.project.config.database.read_url()) as locking:
            locking.execute(sql.SQL("SELECT id FROM {} WHERE id = ANY(%s) FOR UPDATE").format(self.table), (keys,))
            yield locking

    def claims(self) -> int:
        """Return the number of claims on key ranges of the table."""
        return count(
            self.connection, "SELECT count(*) FROM crdbvec_claims WHERE table_name = %s", self.project.spec.table.name
        )

    def batches(self) -> list[list[str]]:
        """Return the inputs of each call of the model for this table."""
        prefix = f"{self.project.spec.table.name} "
        return [batch for batch in self.calls.batches() if batch[0].startswith(prefix)]

    def repeated(self) -> int:
        """Return how many rows were encoded again after they had been encoded once; every row must have been."""
        counts = Counter(text for batch in self.batches() for text in batch)
        assert counts.keys() >= set(self.texts().values())
        return counts.total() - len(counts)


def count(connection: psycopg.Connection, query: LiteralString, *parameters: str) -> int:
    """Return the number that a query returns."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])
