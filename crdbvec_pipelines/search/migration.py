"""Whether the two columns of a model migration may be exchanged: coverage and index."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.statements import existing_indexes
from crdbvec_pipelines.database.metrics import operator_class
from crdbvec_pipelines.database.rows.count_statements import count_behind
from crdbvec_pipelines.errors import CrdbvecError

_POLL_SECONDS = 0.2


class MigrationNotReady(CrdbvecError):
    """The columns of a model migration cannot be exchanged yet."""

    remedy = "Run `crdbvec embed` and `crdbvec index build` for the column that the message names, then run it again."


@dataclass(frozen=True)
class Readiness:
    """What an exchange requires of the column that takes the place of another one.

    Attributes:
        rows_behind: Rows that have a vector in the other column, and no current one in this column.
        has_index: Whether searches can use an index of this column.
        needs_index: Whether searches can use an index of the other column.
    """

    rows_behind: int
    has_index: bool
    needs_index: bool


def read_readiness(own: BoundColumn, other: BoundColumn) -> Readiness:
    """Return whether a column can take the place of another one of the same table.

    Args:
        own: The column that applications use.
        other: The column that takes its place.
    """
    (behind,) = other.database.fetch_one(count_behind(other, own.spec.output), other.seed)
    return Readiness(int(behind), _has_index(other), _has_index(own))


def wait_until_ready(own: BoundColumn, other: BoundColumn, seconds: float, on_wait: Callable[[int], None]) -> None:
    """Wait until a column has a current vector for every row of the other one.

    While applications write, some rows have only one of the two vectors at most moments.

    Raises:
        MigrationNotReady: It has not within the time, or it has no index and the other one has.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = read_readiness(own, other)
        if found.needs_index and not found.has_index:
            raise MigrationNotReady(
                f"Searches use an index of {own.spec}, and {other.spec} has none, so they would be exact after the "
                f"exchange. Run `crdbvec index build -t {own.spec.table} -o {other.spec.output}`, then run the same "
                "command again."
            )
        if not found.rows_behind:
            return
        if time.monotonic() >= deadline:
            raise MigrationNotReady(
                f"{found.rows_behind:,} rows have a vector in {own.spec} and no current one in {other.spec.output}. "
                f"Run `crdbvec embed -t {own.spec.table} -o {other.spec.output}`, or `crdbvec errors list` if rows "
                "have failed, then run the same command again."
            )
        on_wait(found.rows_behind)
        time.sleep(_POLL_SECONDS)


def _has_index(column: BoundColumn) -> bool:
    vectors = vectors_of(column)
    wanted = operator_class(vectors.metric, vectors.vector_type)
    return any(
        index.is_visible and index.contains_every_vector and index.operator_class == wanted
        for index in existing_indexes(vectors).values()
    )
