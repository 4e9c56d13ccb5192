"""The contact sheet of a key range: the right pictures in the right cells, its size, and unreadable pictures."""

from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from PIL import Image

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.encoding.picture_locations import PictureLocations
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.search import contact_sheet
from crdbvec_pipelines.search.contact_sheet import NEAREST_ROWS, SAMPLE_ROWS, ContactSheet, read_contact_sheet
from crdbvec_pipelines.search.picture_grid import CELL_PIXELS, MAX_GRID_BYTES, picture_grid
from tests.support.contact_sheets import shown
from tests.support.pictures import bomb, content, damaged, rotated_by_camera, scene
from tests.support.vectors import distances, is_cockroachdb, preferring_indexes, random_vectors, vector_text
from tests.support.work import FakeModel

ROWS = 40
USERS = 3
VECTORS = random_vectors(ROWS)
PICTURES = {number: scene(number) for number in range(ROWS)}
HALF = KeyRange((20,), None)


def create(
    connection: psycopg.Connection, inputs: dict[int, bytes | str | None], kind: str = "BYTEA", users: int = USERS
) -> None:
    """Create a table of pictures that have vectors; the last user is NULL."""
    if not is_cockroachdb(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(f"CREATE TABLE photos (id INT8 PRIMARY KEY, user_id INT8, picture {kind}, v VECTOR(8))")
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO photos VALUES (%s, %s, %s::{kind}, %s::VECTOR)",
            [
                (number, None if number % users == users - 1 else number % users, each, vector_text(VECTORS[number]))
                for number, each in inputs.items()
            ],
        )
    connection.execute("ANALYZE photos")


def contents() -> dict[int, bytes | str | None]:
    return {number: content(picture) for number, picture in PICTURES.items()}


def bound(database: Database, **entry: object) -> BoundColumn:
    spec = vector_column(table="photos", input="picture", output="v", model="m", **entry)
    return bind_column(database, spec, FakeModel())


def read(
    column: BoundColumn, key_range: KeyRange = HALF, pictures: PictureInputs | None = None, stop: Event | None = None
) -> ContactSheet:
    sheet = read_contact_sheet(column, key_range, pictures or PictureInputs(), stop or Event())
    assert sheet is not None
    return sheet


def keys(sheet: ContactSheet) -> list[list[Any]]:
    """Return the keys of the sheet's rows, by row."""
    return [[row.key[0], *(key[0] for _, key in row.nearest)] for row in sheet.rows]


def cells(sheet: ContactSheet) -> list[list[Any]]:
    """Return the keys of the pictures that the sheet shows, by row."""
    return shown(sheet.grid, [1 + len(row.nearest) for row in sheet.rows], PICTURES)


def nearest(number: int, candidates: list[int]) -> list[int]:
    """Return the keys of the rows nearest to a row, computed by numpy."""
    others = [other for other in candidates if other != number]
    measured: NDArray[np.float64] = distances("cosine", VECTORS[others], VECTORS[number])
    return [others[position] for position in measured.argsort()[:NEAREST_ROWS]]


def test_sheet_shows_rows_of_the_key_range_and_their_exact_nearest_ones(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, contents())
    sheet = read(bound(database))
    # Evenly spread over the key range, and the searches compare its rows only.
    assert [line[0] for line in keys(sheet)] == [20, 25, 30, 35]
    assert keys(sheet) == [[row, *nearest(row, list(range(20, ROWS)))] for row in (20, 25, 30, 35)]
    assert cells(sheet) == keys(sheet)
    assert {row.strategy for row in sheet.rows} == {"exact_scan"}
    assert sheet.unread == 0
    for row, (number, *others) in zip(sheet.rows, keys(sheet), strict=True):
        expected = distances("cosine", VECTORS[others], VECTORS[number])
        assert [distance for distance, _ in row.nearest] == pytest.approx(expected.tolist(), abs=1e-5)
    assert read(bound(database)) == sheet


def test_index_finds_the_nearest_pictures_of_the_whole_table(url: str, connection: psycopg.Connection) -> None:
    create(connection, contents())
    with Database(preferring_indexes(url)) as database:
        column = bound(database, index={})
        VectorIndex(column).build()
        sheet = read(column)
    assert {row.strategy for row in sheet.rows} == {"index_scan"}
    assert keys(sheet) == [[row, *nearest(row, list(range(ROWS)))] for row in (20, 25, 30, 35)]
    assert cells(sheet) == keys(sheet)


@pytest.mark.parametrize("has_index", [False, True])
def test_nearest_pictures_have_the_prefix_values_of_the_sampled_row(
    url: str, connection: psycopg.Connection, *, has_index: bool
) -> None:
    create(connection, contents())
    with Database(preferring_indexes(url)) as database:
        column = bound(database, index={"prefix": ["user_id"]})
        if has_index:
            VectorIndex(column).build()
        sheet = read(column, KeyRange())
    sampled = [line[0] for line in keys(sheet)]
    # Every user, that of NULL included.
    assert {number % USERS for number in sampled} == set(range(USERS))
    of_user = {user: [number for number in range(ROWS) if number % USERS == user] for user in range(USERS)}
    assert keys(sheet) == [[row, *nearest(row, of_user[row % USERS])] for row in sampled]
    assert cells(sheet) == keys(sheet)


def test_picture_that_cannot_be_read_is_a_gray_cell(database: Database, connection: psycopg.Connection) -> None:
    create(connection, contents())
    bad = [next(damaged())[0], bomb(), b"no picture", b"x"]
    for number, each in enumerate(bad):
        connection.execute("UPDATE photos SET picture = %s WHERE id = %s", (each, 20 + number))
    connection.execute("UPDATE photos SET picture = NULL WHERE id = 25")
    gray = {20, 21, 22, 23, 25}
    sheet = read(bound(database))
    expected = [[None if key in gray else key for key in line] for line in keys(sheet)]
    assert cells(sheet) == expected
    assert sheet.unread == sum(line.count(None) for line in expected) > 0


def test_rows_that_are_deleted_while_the_sheet_is_made_are_gray_cells(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, contents())

    class Deleting(PictureInputs):
        def read(self, value: object, side: int = 0) -> Any:
            connection.execute("DELETE FROM photos WHERE id <> 20")
            return super().read(value, side)

    sheet = read(bound(database), pictures=Deleting())
    assert cells(sheet) == [[20 if key == 20 else None for key in line] for line in keys(sheet)]


@pytest.mark.parametrize("reason", ["stopped", "out of time"])
def test_no_picture_is_read_after_the_run_is_stopped_or_the_time_is_over(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    create(connection, contents())

    class Unused(PictureInputs):
        def read(self, value: object, side: int = 0) -> Any:
            raise AssertionError

    stop = Event()
    if reason == "stopped":
        stop.set()
    else:
        monkeypatch.setattr(contact_sheet, "_READ_SECONDS", 0.0)
    sheet = read(bound(database), pictures=Unused(), stop=stop)
    assert sheet.unread == SAMPLE_ROWS * (1 + NEAREST_ROWS)


def test_limits_of_the_model_apply_and_pictures_are_upright(database: Database, connection: psycopg.Connection) -> None:
    rotated, upright = rotated_by_camera(20)
    large = content(scene(21, 640, 480))
    create(connection, {20: rotated, 21: large, 22: content(scene(22))})
    pictures = {20: upright, 21: scene(21, 640, 480), 22: scene(22)}
    sheet = read(bound(database))
    assert shown(sheet.grid, [3, 3, 3], pictures) == keys(sheet)
    limited = read(bound(database), pictures=PictureInputs(max_pixels=2_000))
    assert limited.unread == 3
    assert shown(limited.grid, [3, 3, 3], pictures) == [
        [None if key == 21 else key for key in line] for line in keys(limited)
    ]


def test_texts_are_opened_only_where_the_model_may_read(
    database: Database, connection: psycopg.Connection, tmp_path: Path
) -> None:
    allowed = tmp_path / "photos"
    allowed.mkdir()
    named: dict[int, bytes | str | None] = {}
    for number in range(20, 26):
        folder = allowed if number < 24 else tmp_path
        (folder / f"{number}.png").write_bytes(content(PICTURES[number]))
        named[number] = str(folder / f"{number}.png")
    named[26] = "http://127.0.0.1:9/26.png"
    create(connection, named, "TEXT")
    readable = {20, 21, 22, 23}
    sheet = read(bound(database), pictures=PictureInputs(locations=PictureLocations((allowed,))))
    assert cells(sheet) == [[key if key in readable else None for key in line] for line in keys(sheet)]
    assert readable & {key for line in cells(sheet) for key in line}
    # The texts of a model that does not name pictures are not opened.
    assert {key for line in cells(read(bound(database))) for key in line} == {None}


def test_rows_without_direction_or_without_vectors_are_left_out(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, contents())
    connection.execute("UPDATE photos SET v = %s::VECTOR WHERE id = 20", (vector_text(np.zeros(8, np.float32)),))
    assert [line[0] for line in keys(read(bound(database)))] == [25, 30, 35]
    connection.execute("UPDATE photos SET v = NULL")
    assert read_contact_sheet(bound(database), HALF, PictureInputs(), Event()) is None


def test_sheet_of_pictures_that_do_not_compress_is_small() -> None:
    random = np.random.default_rng(0)
    noise = [
        Image.fromarray(random.integers(0, 256, (CELL_PIXELS, CELL_PIXELS, 3), np.uint8))
        for _ in range(SAMPLE_ROWS * (1 + NEAREST_ROWS))
    ]
    rows = [noise[start : start + 1 + NEAREST_ROWS] for start in range(0, len(noise), 1 + NEAREST_ROWS)]
    grid = picture_grid(rows)
    assert len(grid) <= MAX_GRID_BYTES
    # The loss is in the quality, not in the size.
    assert Image.open(BytesIO(grid)).width > (1 + NEAREST_ROWS) * CELL_PIXELS
    assert len(picture_grid([noise] * 40)) <= MAX_GRID_BYTES
