"""`crdbvec migrate` for an entry with `long_inputs: chunks`: two chunk tables, and what an application sees of them."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.config import ChunksSpec, MigrationSpec, load_config
from crdbvec_pipelines.database.chunks.table import chunk_spec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import ColumnExchanged
from crdbvec_pipelines.database.index.statements import vector_index_name
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.search.searcher import Searcher
from tests.cli.conftest import Invoke, Json
from tests.cli.test_migrate import error
from tests.support.chunks import SIZE, check_chunks, chunked, long_text
from tests.support.models import registry
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text
from tests.support.vectors import preferring_indexes
from tests.support.work import prepare

SECOND = "passage_vector_second"
SMALL = {"size": 12, "overlap": 2}
OTHER_SIZE = ("--chunk-size", 12, "--chunk-overlap", 2)
TEXTS: dict[int, str | None] = {number: long_text(number, 10 + number * 15 % 100) for number in range(40)}


@pytest.fixture
def embedded(
    project: Path, own: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    """A table with its chunks and their index."""
    monkeypatch.setenv("CRDBVEC_URL", preferring_indexes(own.info.dsn))
    write_config(project, {"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE, "index": {}})
    create_table(own)
    insert_rows(own, INT_SHAPE, TEXTS)
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    return own


def check(connection: psycopg.Connection, first: str, second: str, *, is_exchanged: bool, texts: Any = TEXTS) -> None:
    """Assert that each column has the chunks of its model, divided as for that model."""
    sizes = (SMALL, SIZE) if is_exchanged else (SIZE, SMALL)
    for output, model, size in zip(("passage_vector", SECOND), (first, second), sizes, strict=True):
        check_chunks(connection, chunked(output=output, model=model, chunks=size), texts)


def prepare_switch(invoke: Invoke, model: str, *options: object) -> None:
    assert invoke("migrate", "start", "-m", model, *options).exit_code == 0
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build", "-o", SECOND).exit_code == 0


def names(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Return each name of a table, column, index or key in the schema, with the number of what has it."""
    return connection.execute(
        "SELECT relname::text, oid::text FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relname LIKE 'passage%' UNION ALL "
        "SELECT attname::text, attrelid || ' ' || attnum FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class "
        "WHERE relkind = 'r' AND relname LIKE 'passage%') AND attnum > 0 AND NOT attisdropped UNION ALL "
        "SELECT conname::text, oid::text FROM pg_constraint WHERE conrelid::regclass::text LIKE 'passage%' "
        "AND contype IN ('p', 'f') ORDER BY 1, 2"
    ).fetchall()


@pytest.mark.parametrize("model", ["stub_wide", "stub_other"], ids=["other dimension", "same dimension"])
def test_migration_to_another_model_and_size_of_chunks(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json, model: str
) -> None:
    (before_start,) = load_config(project / "crdbvec.yaml").vectors
    plan = read_json("migrate", "start", "-m", model, *OTHER_SIZE, "--plan")
    assert (plan["second"], plan["reasons"]["never_embedded"], plan["chunks_per_row"] > 3) == (SECOND, 40, True)
    assert read_json("migrate", "start", "-m", model, *OTHER_SIZE)["phase"] == "started"
    (entry,) = load_config(project / "crdbvec.yaml").vectors
    assert entry.migration == MigrationSpec(model=model, second=SECOND, chunks=ChunksSpec(**SMALL))
    assert read_json("migrate", "status")[0]["rows_behind"] == 40
    assert {each["output"]: each["rows_embedded"] for each in read_json("embed")["vectors"]} == {
        "passage_vector": 0,
        SECOND: 40,
    }
    assert invoke("index", "build", "-o", SECOND).exit_code == 0
    (ready,) = read_json("migrate", "status")
    assert (ready["rows_behind"], ready["has_index"], ready["needs_index"]) == (0, True, True)
    compared = read_json("migrate", "compare", "-q", 10)
    assert (compared["queries"], 0 <= compared["overlap"]["mean"] < 1) == (10, True)
    assert compared["second"]["vector_bytes"] > compared["first"]["vector_bytes"]

    before = names(embedded)
    assert read_json("migrate", "switch")["phase"] == "switched"
    check(embedded, model, "stub_hash", is_exchanged=True)
    switched = names(embedded)
    # Each name is that of the object that the other column had.
    assert [name for name, _ in switched] == [name for name, _ in before]
    assert sorted(number for _, number in switched) == sorted(number for _, number in before)
    moved = {name for (name, one), (_, other) in zip(before, switched, strict=True) if one != other}
    assert {f"passage_{output}_chunks" for output in ("passage_vector", SECOND)} <= moved
    assert {vector_index_name(chunk_spec(chunked(output=output))) for output in ("passage_vector", SECOND)} <= moved
    assert {f"passage_{output}_chunks_pkey" for output in ("passage_vector", SECOND)} <= moved
    assert "Index scan on passage_passage_vector_chunks_passage_vector_index" in invoke("search", "a", "-v").stderr

    # Both are kept fresh.
    insert_rows(embedded, INT_SHAPE, {900: long_text(900, 50)})
    set_text(embedded, INT_SHAPE, 3, "an edited text")
    embedded.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(4))
    texts = {**{number: text for number, text in TEXTS.items() if number != 4}, 3: "an edited text"}
    texts[900] = long_text(900, 50)
    assert read_json("embed")["rows_embedded"] == 4
    check(embedded, model, "stub_hash", is_exchanged=True, texts=texts)
    assert read_json("migrate", "rollback")["phase"] == "started"
    check(embedded, "stub_hash", model, is_exchanged=False, texts=texts)
    assert names(embedded) == before
    assert read_json("embed")["rows_embedded"] == 0
    assert read_json("migrate", "switch")["phase"] == "switched"
    assert read_json("migrate", "finish")["phase"] == "finished"
    check_chunks(embedded, chunked(model=model, chunks=SMALL), texts)
    assert [name for name, _ in names(embedded) if "second" in name] == []
    (finished,) = load_config(project / "crdbvec.yaml").vectors
    assert finished == before_start.with_model(model, ChunksSpec(**SMALL))
    # A configuration that still has the old model stands for the new chunks, too.
    write_config(project, {"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE, "index": {}})
    assert read_json("embed")["rows_embedded"] == 0
    assert (invoke("migrate", "finish").exit_code, read_json("index", "status")["differences"]) == (0, [])


def test_migration_can_be_abandoned_and_started_again(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    before = names(embedded)
    prepare_switch(invoke, "stub_wide")
    assert read_json("migrate", "finish", "--abandon")["phase"] == "abandoned"
    assert names(embedded) == before
    prepare_switch(invoke, "stub_other")
    assert invoke("migrate", "switch").exit_code == 0
    check_chunks(embedded, chunked(model="stub_other"), TEXTS)
    check_chunks(embedded, chunked(output=SECOND), TEXTS)


def test_what_cannot_be_migrated_changes_nothing(embedded: psycopg.Connection, project: Path, invoke: Invoke) -> None:
    before = names(embedded)
    assert "overlap must be less than half of size" in error(
        invoke, "migrate", "start", "-m", "stub_wide", "--chunk-size", 8, "--chunk-overlap", 4
    )
    # The window of the new model is smaller than the chunks.
    assert "or less (for `crdbvec migrate`, --chunk-size)" in error(
        invoke, "migrate", "start", "-m", "hf_st_all_minilm_l6", "--chunk-size", 400
    )
    embedded.execute(f"CREATE TABLE passage_{SECOND}_chunks (id int)")
    sentence = f"already has a chunk table public.passage_{SECOND}_chunks. Choose another column with --second."
    assert sentence in error(invoke, "migrate", "start", "-m", "stub_wide")
    embedded.execute(f"DROP TABLE passage_{SECOND}_chunks")
    assert names(embedded) == before
    write_config(project, {"model": "stub_hash", "output": "plain"})
    assert "has one vector a row" in error(invoke, "migrate", "start", "-m", "stub_wide", "--chunk-size", 8)


def test_switch_needs_every_row_and_an_index(embedded: psycopg.Connection, invoke: Invoke) -> None:
    assert invoke("migrate", "start", "-m", "stub_other").exit_code == 0
    assert "Run `crdbvec index build -t public.passage -o passage_vector_second`" in error(
        invoke, "migrate", "switch", "--wait", 0
    )
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build", "-o", SECOND).exit_code == 0
    embedded.execute(f"UPDATE passage SET {SECOND} = NULL WHERE id = %s", INT_SHAPE.key(1))
    assert "1 rows have a vector in public.passage.passage_vector and no current one" in error(
        invoke, "migrate", "switch", "--wait", 0
    )


def test_replacement_of_an_index_is_continued_after_a_switch(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    """The new index of the second column is not in use yet, and then belongs to the column of the entry."""
    prepare_switch(invoke, "stub_other")
    # With an effort of 1, few of the nearest chunks are found.
    index = {"effort": 1, "m": 2, "ef_construction": 4}
    write_config(project, {"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE, "index": index})
    assert "both are kept" in error(
        invoke, "index", "build", "-o", SECOND, "--replace", "--min-recall", 1, "-t", "passage"
    )
    assert read_json("index", "status", "-o", SECOND)["replacement"]["state"] == "built"
    assert invoke("migrate", "switch").exit_code == 0
    assert read_json("index", "status")["replacement"]["state"] == "built"
    assert read_json("index", "status", "-o", SECOND)["replacement"] is None
    built = read_json("index", "build", "--replace")
    assert (built["built"], built["second"]["built"]) == (True, True)
    for options in ((), ("-o", SECOND)):
        status = read_json("index", "status", *options)
        assert (status["exists"], status["differences"], status["others"]) == (True, [], [])
    check_chunks(embedded, chunked(model="stub_other"), TEXTS)


def test_both_columns_are_evaluated(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    prepare_switch(invoke, "stub_wide", *OTHER_SIZE)
    key = INT_SHAPE.key(7)[0]
    text = str(TEXTS[7])[:20]
    (project / "questions.jsonl").write_text(json.dumps({"query": text, "relevant": [key]}), encoding="utf-8")
    both = read_json("evaluate", "questions.jsonl", "--both", "-k", 3)
    assert [each["model"] for each in both["columns"]] == ["stub_hash", "stub_wide"]
    judged = read_json("migrate", "compare", "--judged", "questions.jsonl", "-k", 3)["judged"]
    assert [judged["first"], judged["second"]] == [each["qualities"][0] for each in both["columns"]]


def test_hybrid_search_over_chunks_mixes_no_models(embedded: psycopg.Connection, invoke: Invoke) -> None:
    """Each of its two statements sees the exchange, also with models of one dimension."""
    query, spec = SearchQuery(limit=3, mode="hybrid"), chunked(index={}, text_index={})
    with Database(embedded.info.dsn) as database:
        follows = Searcher(database, spec, registry().encoder_of(spec), registry())
        stays = Searcher(database, spec, registry().encoder_of(spec))
        text = str(TEXTS[7])[:30]
        assert follows.search_texts([text], query)[0].hits == stays.search_texts([text], query)[0].hits
        prepare_switch(invoke, "stub_other", *OTHER_SIZE)
        assert invoke("migrate", "switch").exit_code == 0
        for mode in ("vector", "hybrid"):
            with pytest.raises(ColumnExchanged):
                stays.search_texts([text], SearchQuery(limit=3, mode=mode))
        (result,) = follows.search_texts([text], query)
    # A new process has the new model from the start.
    now = spec.with_model("stub_other", ChunksSpec(**SMALL))
    with Database(embedded.info.dsn) as database:
        opened = Searcher(database, now, registry().encoder_of(now))
        assert result.hits == opened.search_texts([text], query)[0].hits
    assert result.hits[0].chunk is not None


def test_partitioned_table_is_migrated(
    project: Path, own: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, read_json: Json
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", own.info.dsn)
    write_config(project, {"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE})
    own.execute("CREATE TABLE passage (id int8 PRIMARY KEY, passage text) PARTITION BY RANGE (id)")
    for number in range(2):
        bounds = f"FROM ({number * 20}) TO ({number * 20 + 20})"
        own.execute(f"CREATE TABLE passage_{number} PARTITION OF passage FOR VALUES {bounds}".encode())
    with own.cursor() as cursor:
        cursor.executemany("INSERT INTO passage VALUES (%s, %s)", TEXTS.items())
    assert invoke("embed").exit_code == 0
    before = names(own)
    assert invoke("migrate", "start", "-m", "stub_wide", *OTHER_SIZE).exit_code == 0
    assert read_json("embed")["vectors"][1]["rows_embedded"] == 40
    assert read_json("migrate", "switch")["phase"] == "switched"
    assert len(read_json("search", "a text", "-l", 5)) == 5
    assert read_json("migrate", "rollback")["phase"] == "started"
    assert read_json("migrate", "finish", "--abandon")["phase"] == "abandoned"
    assert names(own) == before


@pytest.mark.parametrize("is_left_by", ["the record", "the column", "the chunk table"])
def test_interrupted_start_is_named_and_continued(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json, is_left_by: str
) -> None:
    assert invoke("migrate", "start", "-m", "stub_wide").exit_code == 0
    if is_left_by != "the chunk table":
        embedded.execute(f"DROP TABLE passage_{SECOND}_chunks")
    if is_left_by == "the record":
        embedded.execute(f"ALTER TABLE passage DROP COLUMN {SECOND}, DROP COLUMN {SECOND}_fingerprint")
    (state,) = read_json("migrate", "status")
    assert (state["phase"], "rows_behind" in state) == ("started", is_left_by == "the chunk table")
    assert invoke("migrate", "start", "-m", "stub_wide").exit_code == 0
    assert read_json("embed")["rows_embedded"] == 40
    check_chunks(embedded, chunked(output=SECOND, model="stub_wide"), TEXTS)


def test_process_with_the_old_model_writes_no_chunk_after_the_switch(
    embedded: psycopg.Connection, invoke: Invoke
) -> None:
    """Also with models of one dimension, of which the server cannot know."""
    spec = chunked(index={})
    with Database(embedded.info.dsn) as database:
        rows = prepare(database, spec)
        set_text(embedded, INT_SHAPE, 5, long_text(77, 80))
        page = rows.read(KeyRange(), rows.all_passes[1], None, 10)
        chunks = registry().encoder_of(spec).encode([(0, row.input) for row in page]).embeddings
        prepare_switch(invoke, "stub_other", *OTHER_SIZE)
        assert invoke("migrate", "switch").exit_code == 0
        with pytest.raises(ColumnExchanged):
            rows.write(page, chunks)
    check(embedded, "stub_other", "stub_hash", is_exchanged=True, texts={**TEXTS, 5: long_text(77, 80)})
