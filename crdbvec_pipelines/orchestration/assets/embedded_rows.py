"""The rows that the attempts of a step have embedded in each partition.

A failed attempt logs its numbers in one event, because the next one may run in another process.
"""

import threading
from collections import Counter
from collections.abc import Collection, Mapping

import dagster as dg

_METADATA_KEY = "rows_embedded_before_retry"


class EmbeddedRows:
    """Counts the rows that a step has embedded in each of its partitions, in all of its attempts.

    Batches are counted by the threads that write them; only the thread of the op logs.

    Args:
        context: The context of the op.
    """

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._before = Counter(_logged(context) if context.retry_number else {})
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, partition: str, rows: int) -> None:
        """Add rows that this attempt has embedded."""
        with self._lock:
            self._now[partition] += rows

    def of(self, partition: str) -> int:
        """Return the rows that were embedded in a partition."""
        with self._lock:
            return self._before[partition] + self._now[partition]

    def log(self, without: Collection[str]) -> None:
        """Log the numbers for the next attempt, if this one has embedded rows.

        Args:
            without: The partitions that are materialized, which have their numbers.
        """
        with self._lock:
            counts = {key: rows for key, rows in (self._before + self._now).items() if key not in without}
            if not counts.keys() & (+self._now).keys():
                return
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key, metadata={_METADATA_KEY: dg.MetadataValue.json(counts)}
            )
        )


def _logged(context: dg.AssetExecutionContext) -> Mapping[str, int]:
    """Return what the last attempt that embedded rows has logged."""
    counts: Mapping[str, int] = {}
    for entry in context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION):
        observation = entry.asset_observation
        if observation is not None and observation.asset_key == context.asset_key:
            logged = observation.metadata.get(_METADATA_KEY)
            if isinstance(logged, dg.JsonMetadataValue) and isinstance(logged.data, Mapping):
                counts = {str(key): int(rows) for key, rows in logged.data.items()}
    return counts
