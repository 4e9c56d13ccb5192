"""The contact sheet in the materialization of a partition of pictures: where it is, what it shows, and when not."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.orchestration.assets import partition_run
from crdbvec_pipelines.orchestration.assets.contact_sheet_text import contact_sheet_text
from crdbvec_pipelines.search.contact_sheet import ContactSheet, SheetRow
from crdbvec_pipelines.search.picture_grid import MAX_GRID_BYTES
from tests.orchestration.project import BuildProject, Project
from tests.support.contact_sheets import shown
from tests.support.generated_models import clip
from tests.support.pictures import content, damaged, scene
from tests.support.vectors import distances

ROWS = 40
PICTURES = {number: scene(number) for number in range(ROWS)}
WHOLE = "public:photos::min::max"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    """A generated CLIP; in bfloat16, its random vectors would be too similar for an order."""
    folder = tmp_path_factory.mktemp("clip") / "clip"
    clip(folder)
    return {"name": str(folder), "precision": "f32"}


@pytest.fixture
def photos(connection: psycopg.Connection) -> None:
    """A table with pictures, the first of which is damaged."""
    connection.execute("CREATE TABLE photos (id INT8 PRIMARY KEY, picture BYTEA, path TEXT)")
    contents = {number: content(picture) for number, picture in PICTURES.items()} | {0: next(damaged())[0]}
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO photos VALUES (%s, %s, %s)",
            [(number, each, f"{number}.png") for number, each in contents.items()],
        )


def on_photos(build_project: BuildProject, url: str, model: object, **entry: object) -> Project:
    values: dict[str, Any] = {"table": "photos", "input": "picture", "contact_sheet": True, **entry}
    return build_project(url, model=model, **values)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_each_partition_shows_its_pictures_with_their_nearest_ones(
    url: str, build_project: BuildProject, connection: psycopg.Connection, photos: None, model: object
) -> None:
    project = on_photos(build_project, url, model, partitions={"target_rows": 20})
    project.prepare()
    assert len(project.partitions) == 2
    for key in project.partitions:
        assert project.run("encode_in_process", partition_key=key).success
    vectors = {
        number: np.asarray(vector, np.float32)
        for number, vector in connection.execute(
            "SELECT id, passage_vector::real[] FROM photos WHERE passage_vector IS NOT NULL"
        )
    }
    assert vectors.keys() == set(range(1, ROWS))
    sampled = set()
    for metadata in project.materialized().values():
        text = metadata["contact_sheet"]
        assert len(text) < 4 / 3 * MAX_GRID_BYTES + 3_000
        match = re.match(r"!\[[^\]]*\]\(data:image/jpeg;base64,([^)]+)\)\n", text)
        assert match
        lines = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
        listed = [[int(key), *map(int, re.findall(r"`(\d+)`", others))] for key, others in _codes(lines)]
        cells = shown(base64.b64decode(match[1]), [len(line) for line in listed], PICTURES)
        assert cells == listed
        part = range(20) if listed[0][0] < 20 else range(20, ROWS)
        for number, *nearest in listed:
            others = [other for other in part if other in vectors and other != number]
            measured = distances("cosine", np.array([vectors[other] for other in others]), vectors[number])
            assert nearest == [others[position] for position in measured.argsort()[:5]]
        sampled |= {line[0] for line in listed}
        assert "nearest to it in the partition." in text
    assert len(sampled) == 8


def _codes(lines: list[list[str]]) -> Iterator[tuple[str, str]]:
    for key, others in lines:
        yield key.strip().strip("`"), others


def test_rows_may_name_their_pictures(
    url: str,
    build_project: BuildProject,
    connection: psycopg.Connection,
    photos: None,
    model: Mapping[str, object],
    tmp_path: Path,
) -> None:
    for number in range(1, 6):
        (tmp_path / f"{number}.png").write_bytes(content(PICTURES[number]))
    named = {**model, "pictures": {"folders": [str(tmp_path)]}}
    project = on_photos(build_project, url, named, input="path")
    project.add_partitions(WHOLE)
    assert project.run("encode_in_process", partition_key=WHOLE).success
    (metadata,) = project.materialized().values()
    match = re.search(r"base64,([^)]+)\)", metadata["contact_sheet"])
    assert match
    # Four rows, spread over five: 1, 3 and 5.
    assert [line[0] for line in shown(base64.b64decode(match[1]), [5, 5, 5], PICTURES)] == [1, 3, 5]


def test_there_is_no_sheet_unless_it_is_switched_on(
    url: str, build_project: BuildProject, photos: None, model: object
) -> None:
    project = build_project(url, table="photos", input="picture", model=model)
    project.add_partitions(WHOLE)
    assert project.run("encode_in_process", partition_key=WHOLE).success
    (metadata,) = project.materialized().values()
    assert "pictures" in metadata
    assert "contact_sheet" not in metadata


def test_follow_run_makes_no_sheet(url: str, build_project: BuildProject, photos: None, model: object) -> None:
    project = on_photos(build_project, url, model)
    project.prepare()
    assert project.run("follow").success
    (metadata,) = project.materialized().values()
    assert metadata["rows_embedded"] == ROWS - 1
    assert "contact_sheet" not in metadata


@pytest.mark.parametrize("name", ["stub_hash", "clip"])
def test_column_of_texts_fails_the_run_before_the_table_is_changed(
    url: str, build_project: BuildProject, connection: psycopg.Connection, photos: None, model: object, name: str
) -> None:
    project = on_photos(build_project, url, model if name == "clip" else name, input="path")
    project.add_partitions(WHOLE)
    message = failure(project.run("encode_in_process", partition_key=WHOLE, raise_on_error=False))
    assert "contact_sheet shows pictures, but the input path of public.photos.passage_vector is of type text" in message
    assert project.materialized() == {}
    columns = connection.execute("SELECT count(*) FROM pg_attribute WHERE attrelid = 'photos'::regclass AND attnum > 0")
    assert columns.fetchone() == (3,)


def test_partition_is_materialized_also_if_its_sheet_cannot_be_made(
    url: str, build_project: BuildProject, photos: None, model: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> ContactSheet:
        raise DatabaseError("The server rejected a search.")

    monkeypatch.setattr(partition_run, "read_contact_sheet", fail)
    project = on_photos(build_project, url, model)
    project.add_partitions(WHOLE)
    result = project.run("encode_in_process", partition_key=WHOLE)
    assert result.success
    (metadata,) = project.materialized().values()
    assert "contact_sheet" not in metadata
    warned = [entry.user_message for entry in project.instance.all_logs(result.run_id) if entry.level == 30]
    assert any(f"Partition {WHOLE} has no contact sheet. The server rejected a search." in text for text in warned)


def test_keys_are_short_and_have_no_signs_of_markdown() -> None:
    hostile = ("](x) `a` | b\n# c", 7)
    row = SheetRow(hostile, ((0.5, ("k" * 300,)), (-1e-9, hostile)), "index_scan")
    text = contact_sheet_text(ContactSheet((row,), b"jpeg", unread=2))
    (line,) = [line for line in text.splitlines() if line.startswith("| `")]
    assert line.count("|") == 3
    assert line.count("`") == 6
    assert f"`{'k' * 39}…` 0.5000" in line
    assert "` 0.0000 |" in line
    assert "by the vector index" in text
    assert text.endswith("Pictures that could not be read: 2.")
