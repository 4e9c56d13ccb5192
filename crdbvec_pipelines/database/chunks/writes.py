"""The guarded writes of chunks: those of a row are replaced as a whole, or cleared, in one transaction."""

from collections.abc import Sequence

from crdbvec_pipelines.chunk_set import ChunkSet
from crdbvec_pipelines.database.chunks import statements
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Executed, Parameters, Row
from crdbvec_pipelines.database.rows.statements import clear_unlocked_vector, clear_vector
from crdbvec_pipelines.database.statement import Statement

CHUNKS = "chunks"
"""The parameter with the `ChunkSet` of a row, which becomes the parameters of each chunk."""


class ChunkReplacement:
    """Replaces the chunks of rows; see `row_updates.RowUpdate`.

    Args:
        column: The vector column.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._database = column.database
        self._surplus = statements.delete_surplus_chunks(column)

    def run(self, group: Sequence[Parameters]) -> Executed:
        """Replace the chunks of the rows; see `RowUpdate.run`."""
        replaced = [(statements.replace_chunks(self._column, count=_count(row)), _parameters(row)) for row in group]
        rows, retries = self._database.fetch_together(self._with_surplus(replaced), self._database.write_settings)
        return Executed(sum(count for (count,) in rows), retries)

    def run_unlocked(self, group: Sequence[Parameters]) -> Sequence[Row]:
        """Replace the chunks of the rows that are not locked; see `RowUpdate.run_unlocked`."""
        replaced = [
            (statements.replace_unlocked_chunks(self._column, count=_count(row)), _parameters(row)) for row in group
        ]
        return self._database.fetch_together(self._with_surplus(replaced), self._database.write_settings)[0]

    def _with_surplus(self, replaced: Sequence[tuple[Statement, Parameters]]) -> Sequence[tuple[Statement, Parameters]]:
        return [each for first in replaced for each in (first, (self._surplus, first[1]))]


class ChunkClearing:
    """Clears rows whose input has become blank, and deletes their chunks; see `row_updates.RowUpdate`.

    Args:
        column: The vector column.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._database = column.database
        self._delete = statements.delete_chunks(column)
        self._clear = clear_vector(column)
        self._clear_unlocked = clear_unlocked_vector(column)

    def run(self, group: Sequence[Parameters]) -> Executed:
        """Clear the rows; see `RowUpdate.run`."""
        done = self._database.execute_many(self._clear, group, self._database.write_settings)
        self._database.execute_many(self._delete, group, self._database.write_settings)
        return done

    def run_unlocked(self, group: Sequence[Parameters]) -> Sequence[Row]:
        """Clear the rows that are not locked; see `RowUpdate.run_unlocked`."""
        done = self._database.fetch_each(self._clear_unlocked, group, self._database.write_settings)
        self._database.execute_many(self._delete, group, self._database.write_settings)
        return done


def _count(row: Parameters) -> int:
    return len(_chunks(row).spans)


def _chunks(row: Parameters) -> ChunkSet:
    chunks = row[CHUNKS]
    if not isinstance(chunks, ChunkSet):
        raise TypeError(f"an entry with chunks was given {type(chunks).__name__}; use ModelRegistry.encoder_of")
    return chunks


def _parameters(row: Parameters) -> Parameters:
    """Return the parameters of a row with those of each of its chunks."""
    chunks = _chunks(row)
    values: dict[str, object] = {name: value for name, value in row.items() if name != CHUNKS}
    for number, ((start, end), vector) in enumerate(zip(chunks.spans.tolist(), chunks.vectors, strict=True)):
        values |= {f"start_{number}": start, f"end_{number}": end, f"vector_{number}": vector}
    for number, text in enumerate(chunks.texts or ()):
        values[f"text_{number}"] = text
    return values
