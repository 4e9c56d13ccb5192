"""The contact sheet of a column of pictures: some rows of a key range, each with the pictures nearest to it.

It shows whether a search for similar pictures finds similar pictures. What it reads does not grow with the table: the
searches use the vector index, or compare only the rows of the key range. One picture at a time is in memory.
"""

import time
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, cast

import numpy as np

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.expressions import bound_flags, range_parameters
from crdbvec_pipelines.database.rows.embedded_sample import input_of
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.database.search.statements import sample_vectors
from crdbvec_pipelines.database.search.strategy import Strategy
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import Bound, KeyRange
from crdbvec_pipelines.search.picture_grid import CELL_PIXELS, picture_grid

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE_ROWS = 4
"""The rows of a sheet."""
NEAREST_ROWS = 5
"""The nearest pictures of each row. The grid of 24 pictures is 600 pixels wide, and a JPEG file of about 30 kB."""

# A host that does not answer would otherwise hold a run for the time limit of each of its pictures.
_READ_SECONDS = 20.0


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet.

    Attributes:
        key: The key of the sampled row.
        nearest: Distance and key of the rows nearest to it, nearest first.
        strategy: An index scan of the whole table, or an exact scan of the key range.
    """

    key: tuple[object, ...]
    nearest: tuple[tuple[float, tuple[object, ...]], ...]
    strategy: Strategy


@dataclass(frozen=True)
class ContactSheet:
    """Sampled rows of a key range with their nearest rows, and their pictures.

    Attributes:
        rows: The rows, in the order of their keys.
        grid: The pictures as a JPEG file: in each row that of the sampled row, then those of its nearest rows.
        unread: The number of cells without a picture, because it could not be read any more.
    """

    rows: tuple[SheetRow, ...]
    grid: bytes
    unread: int


def check_contact_sheet(column: BoundColumn, encoder: Encoder) -> None:
    """Check that a contact sheet of a column can show pictures: its input is pictures, or names pictures.

    Raises:
        ConfigurationError: It is not.
    """
    (name,) = column.spec.input_columns
    given = column.table.columns[name]
    if given.is_bytes or (given.is_text and encoder.pictures.locations is not None):
        return
    raise ConfigurationError(
        f"{column.spec.origin}: contact_sheet shows pictures, but the input {name} of {column} is of type {given.cast} "
        "and names none. Remove contact_sheet, or write the setting `pictures` of the model if the texts name pictures."
    )


def read_contact_sheet(
    column: BoundColumn, key_range: KeyRange, pictures: PictureInputs, stop: Event
) -> ContactSheet | None:
    """Return the contact sheet of a key range; None if no row of it has a vector.

    The rows are evenly spread over the keys, so that the same table has the same sheet. With prefix columns of the
    index, the nearest rows are those with the values of the sampled row.

    Args:
        column: The vector column, which exists.
        key_range: The key range.
        pictures: Reads the pictures of the model.
        stop: Ends reading; the other cells are empty.

    Raises:
        DatabaseError: The server rejected a statement.
        ColumnExchanged: The column has the vectors of another model now.
    """
    rows = _sampled_rows(column, key_range)
    if not rows:
        return None
    deadline = time.monotonic() + _READ_SECONDS
    grid = []
    for row in rows:
        cells: list[Image | None] = []
        for key in (row.key, *(key for _, key in row.nearest)):
            may_read = time.monotonic() < deadline and not stop.is_set()
            cells.append(_thumbnail(column, key, pictures) if may_read else None)
        grid.append(cells)
    return ContactSheet(tuple(rows), picture_grid(grid), sum(cell is None for cells in grid for cell in cells))


def _sampled_rows(column: BoundColumn, key_range: KeyRange) -> list[SheetRow]:
    prefix = [column.table.columns[name] for name in _prefix_of(column.spec)]
    sampled = column.database.fetch(
        sample_vectors(column, prefix, **bound_flags(key_range)), {**range_parameters(key_range), "size": SAMPLE_ROWS}
    )
    nearest = NearestNeighbors(column)
    rows = []
    for numbers, *values in sampled:
        vector = np.asarray(numbers, np.float32)
        key = tuple(values[len(prefix) :])
        if not vector.any():
            # It has no direction, so that no row is nearer to it than another one.
            continue
        filters = {part.name: value for part, value in zip(prefix, values, strict=False)}
        query = SearchQuery(limit=NEAREST_ROWS, filters=filters or None, exclude_key=cast(Bound, key))
        found = nearest.find_keys(vector, query, key_range)
        rows.append(SheetRow(key, tuple(found.found), found.strategy))
    return rows


def _prefix_of(spec: VectorColumn) -> tuple[str, ...]:
    return spec.index.prefix if spec.index else ()


def _thumbnail(column: BoundColumn, key: tuple[object, ...], pictures: PictureInputs) -> "Image | None":
    """Return the small picture of a row; None if it cannot be read, or not any more."""
    try:
        return pictures.read(input_of(column, key), CELL_PIXELS)[0]
    except (InputRejected, OSError, MemoryError):
        return None
