"""The chunk table as the asset of an entry with chunks: partitions of the source key, numbers, lineage and checks."""

import dagster as dg
import psycopg
import pytest

from tests.orchestration.evaluations import CHECKS, evaluate
from tests.orchestration.project import BuildProject
from tests.support.chunks import SIZE, check_chunks, chunked, long_text, stored_chunks
from tests.support.tables import UUID_SHAPE, create_table, insert_rows

pytestmark = pytest.mark.usefixtures("calls")

TEXTS: dict[int, str | None] = {number: long_text(number, number * 7 % 90) for number in range(60)} | {0: None}


def test_partitions_of_the_source_table_materialize_the_chunk_table(
    url: str, build_project: BuildProject, connection: psycopg.Connection
) -> None:
    create_table(connection, UUID_SHAPE)
    insert_rows(connection, UUID_SHAPE, TEXTS)
    project = build_project(
        url, model="stub_hash", long_inputs="chunks", chunks=SIZE, partitions={"target_rows": 20}, index={}
    )
    assert project.run("sync_partitions").success
    assert len(project.partitions) >= 3
    for key in project.partitions:
        assert project.run("encode_in_process", partition_key=key).success
    check_chunks(connection, chunked(), TEXTS, UUID_SHAPE)
    numbers = project.materialized()
    stored = stored_chunks(connection, chunked(), UUID_SHAPE.columns)
    assert sum(each["rows_embedded"] for each in numbers.values()) == len(stored)
    assert sum(each["chunks"] for each in numbers.values()) == sum(map(len, stored.values()))
    assert all(each["chunks_per_row"] > 1 for each in numbers.values())
    columns = [column.name for column in next(iter(numbers.values()))["dagster/column_schema"].columns]
    assert columns == ["id", "chunk_number", "chunk_start", "chunk_end", "passage_vector"]
    node = project.definitions.resolve_asset_graph().get(project.asset)
    assert node.metadata["dagster/table_name"] == "public.passage_passage_vector_chunks"
    lineage = node.metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    assert [each.column_name for each in lineage.deps_by_column["passage_vector"]] == ["passage"]
    found = evaluate(project)
    assert {name: found[name].passed for name in CHECKS} == dict.fromkeys(CHECKS, True)
    assert (found["coverage"].metadata["rows"], found["coverage"].metadata["rows_embedded"]) == (60, len(stored))
