"""The guarded writes of chunks: those of a row are replaced as a whole, or cleared, in one transaction."""

from collections.abc import Callable, Sequence

from crdbvec_pipelines.chunk_set import ChunkSet
from crdbvec_pipelines.database.chunks import statements
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Executed, Parameters, Row
from crdbvec_pipelines.database.rows.statements import clear_unlocked_vector, clear_vector
from crdbvec_pipelines.database.statement import Statement

_Sent = tuple[Statement, Parameters]
_Build = Callable[..., Statement]

CHUNKS = "chunks"
"""The parameter with the `ChunkSet` of a row, which becomes the parameters of each chunk."""


# The most chunks of one statement, far below the limits of servers on parameters (65,535) and bytes (16 MiB).
_CHUNKS_PER_STATEMENT = 500


class ChunkReplacement:
    """Replaces the chunks of rows; see `row_updates.RowUpdate`.

    Args:
        column: The vector column.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._database = column.database
        self._surplus = statements.delete_surplus_chunks(column)
        # Many rows have the same number of chunks, and a statement of hundreds of them takes long to build.
        self._built: dict[tuple[_Build, int], Statement] = {}

    def run(self, group: Sequence[Parameters]) -> Executed:
        """Replace the chunks of the rows; see `RowUpdate.run`."""
        replaced = self._replaced(group, statements.replace_chunks)
        rows, retries = self._database.fetch_together(replaced, self._database.write_settings)
        return Executed(sum(count for (count,) in rows), retries)

    def run_unlocked(self, group: Sequence[Parameters]) -> Sequence[Row]:
        """Replace the chunks of the rows that are not locked; see `RowUpdate.run_unlocked`."""
        replaced = self._replaced(group, statements.replace_unlocked_chunks)
        return self._database.fetch_together(replaced, self._database.write_settings)[0]

    def _replaced(self, group: Sequence[Parameters], replace: _Build) -> list[_Sent]:
        """Return the statements of the transaction, of which one for each row returns something."""
        sent: list[_Sent] = []
        for row in group:
            for first in range(0, len(_chunks(row).spans), _CHUNKS_PER_STATEMENT):
                parameters, chunks = _parameters(row, first)
                build = statements.replace_further_chunks if first else replace
                sent.append((self._statement(build, chunks), parameters))
            sent.append((self._surplus, _of_row(row)))
        return sent

    def _statement(self, build: _Build, chunks: int) -> Statement:
        if (build, chunks) not in self._built:
            self._built[build, chunks] = build(self._column, chunks=chunks)
        return self._built[build, chunks]


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


def _chunks(row: Parameters) -> ChunkSet:
    chunks = row[CHUNKS]
    if not isinstance(chunks, ChunkSet):
        raise TypeError(f"an entry with chunks was given {type(chunks).__name__}; use ModelRegistry.encoder_of")
    return chunks


def _of_row(row: Parameters) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != CHUNKS}


def _parameters(row: Parameters, first: int) -> tuple[Parameters, int]:
    """Return the parameters of the statement that writes chunks of a row from a number on, and how many it writes."""
    chunks = _chunks(row)
    part = slice(first, first + _CHUNKS_PER_STATEMENT)
    values = {**_of_row(row), "count": len(chunks.spans), "first": first}
    spans = chunks.spans[part].tolist()
    for number, ((start, end), vector) in enumerate(zip(spans, chunks.vectors[part], strict=True)):
        values |= {f"start_{number}": start, f"end_{number}": end, f"vector_{number}": vector}
    for number, text in enumerate((chunks.texts or ())[part]):
        values[f"text_{number}"] = text
    return values, len(spans)
