"""The profile of a table: the texts of a sample or of all rows, and the distances to their nearest rows.

The sample has a fixed number of rows, so that only the pass over the keys that chooses them grows with the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.input_pages import all_inputs, sample_of_inputs
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, ModelError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.profile.texts import TextCounter, Texts, quantiles
from crdbvec_pipelines.refresh.input_sample import read_sample
from crdbvec_pipelines.search.neighbors import Neighbor, nearest_neighbors

PROFILE_ROWS = 1_000
"""The rows of a sample. The standard error of a share is at most 1.6 percentage points."""
NEIGHBOR_ROWS = 200
"""The rows of the sample whose nearest neighbor is searched for: one search by the vector index for each."""
NEAR_DISTANCE = 0.05
"""A cosine distance below which two texts say nearly the same: 0.05 is an angle of 18 degrees."""
_PAGE_ROWS = 1_000


@dataclass(frozen=True)
class Neighbors:
    """The distances of some rows to the nearest other row of the table.

    Attributes:
        rows: The number of rows.
        distances: The distance of each, in no particular order.
        quantiles: The quantiles of the distances, by `QUANTILES`.
        near: The share of the rows with another text at a distance of less than `NEAR_DISTANCE`; None if the metric is
            not cosine.
        duplicates: The share of the rows whose nearest row has the same input.
    """

    rows: int
    distances: Sequence[float] = field(repr=False)
    quantiles: tuple[float, ...]
    near: float | None
    duplicates: float


@dataclass(frozen=True)
class Profile:
    """What the texts of a table are like.

    Attributes:
        texts: The inputs of the sample, or of all rows.
        is_whole: Whether these are all rows of the table that have an input.
        neighbors: The distances between vectors; None if they were not measured.
    """

    texts: Texts
    is_whole: bool
    neighbors: Neighbors | None = None

    @property
    def duplicates(self) -> tuple[float, str]:
        """The share of the rows with the input of another row, and among which rows: the table, or the sample only.

        In a sample, the other row is often missing, so the nearest rows of the table are better evidence.
        """
        if not self.is_whole and self.neighbors is not None:
            return self.neighbors.duplicates, "table"
        return self.texts.duplicates, "table" if self.is_whole else "sample"


def profile_column(
    database: Database, spec: VectorColumn, encoder: Encoder, *, rows: int = PROFILE_ROWS, is_whole: bool = False
) -> Profile:
    """Return what the texts of a table are like.

    Args:
        database: An open connection.
        spec: The vector column, which need not exist yet.
        encoder: Its model, whose tokenizer is used; no text is encoded.
        rows: The rows of the sample.
        is_whole: Read the inputs of all rows instead.

    Raises:
        TableError: The table differs from the configuration, or cannot have the vector column.
    """
    column = open_column(database, spec, encoder)
    sample = sample_of_inputs(column, rows)
    counter = TextCounter(encoder, spec.checks.unknown_tokens)
    for page in all_inputs(column, _PAGE_ROWS) if is_whole else [sample]:
        counter.add([value for _, value in page])
    # A sample with fewer rows than requested is the whole table.
    is_small = len(sample) < min(rows, PROFILE_ROWS)
    searched = sample[:: -(-len(sample) // NEIGHBOR_ROWS)] if sample else []
    # Of chunks, a row has several vectors.
    found = [] if spec.chunking else nearest_neighbors(column, searched, may_scan=is_small)
    neighbors = _neighbors(found, column.metric) if found else None
    return Profile(_of_entry(spec, counter.result()), is_whole or len(sample) < rows, neighbors)


def profile_ranges(column: BoundColumn, encoder: Encoder, ranges: Sequence[KeyRange]) -> Profile | None:
    """Return what the embedded texts of a small sample of key ranges are like, without distances.

    Returns:
        The profile; None if the model does not count tokens or is unavailable.
    """
    try:
        inputs = read_sample(column, encoder, ranges)
    except (ModelError, EncoderUnavailable):
        return None
    if inputs is None:
        return None
    counter = TextCounter(encoder, column.spec.checks.unknown_tokens)
    counter.add(inputs)
    return Profile(_of_entry(column.spec, counter.result()), is_whole=False)


def _of_entry(spec: VectorColumn, texts: Texts) -> Texts:
    """Return the texts with what an entry loses of them: chunks contain all tokens."""
    return replace(texts, lost=0.0) if spec.chunking and texts.lost is not None else texts


def _neighbors(found: Sequence[Neighbor], metric: str) -> Neighbors:
    distances = [each.distance for each in found]
    near = float(np.mean([each.distance < NEAR_DISTANCE and not each.is_equal for each in found]))
    return Neighbors(
        rows=len(found),
        distances=distances,
        quantiles=quantiles(distances),
        near=near if metric == "cosine" else None,
        duplicates=float(np.mean([each.is_equal for each in found])),
    )
