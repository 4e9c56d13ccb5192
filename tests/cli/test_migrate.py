"""`crdbvec migrate`: from start to finish, with errors, and continued after each step."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.config import MigrationSpec, load_config
from crdbvec_pipelines.database.connection import Database
from tests.cli.conftest import Invoke, Json
from tests.support.models import stub
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text
from tests.support.vectors import preferring_indexes

TEXTS: list[str | None] = [f"text {number}" for number in range(60)]
SECOND = "passage_vector_second"


def configure(project: Path, model: str = "stub_hash") -> None:
    write_config(project, {"model": model, "index": {}})


@pytest.fixture
def embedded(
    project: Path, own: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    """A table with its vectors and their index."""
    monkeypatch.setenv("CRDBVEC_URL", preferring_indexes(own.info.dsn))
    configure(project)
    create_table(own, texts=TEXTS)
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    return own


def wrong_vectors(connection: psycopg.Connection, output: str, model: str) -> list[int]:
    """Return the keys of the rows whose vector in a column is not that of a model."""
    encoder = stub(model)
    rows = connection.execute(f"SELECT id, passage, {output}::real[] FROM passage ORDER BY id").fetchall()
    return [
        key
        for key, text, vector in rows
        if text is not None and (vector is None or max(abs(encoder.encode([(0, text)]).vectors[0] - vector)) > 1e-6)
    ]


def prepare_switch(invoke: Invoke, model: str = "stub_wide") -> None:
    assert invoke("migrate", "start", "-m", model).exit_code == 0
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build", "-o", SECOND).exit_code == 0


@pytest.mark.parametrize("model", ["stub_wide", "stub_other"])
def test_migration_from_start_to_finish(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json, model: str
) -> None:
    (before_start,) = load_config(project / "crdbvec.yaml").vectors
    plan = read_json("migrate", "start", "-m", model, "--plan")
    assert (plan["second"], plan["reasons"]["never_embedded"]) == (SECOND, 60)
    started = read_json("migrate", "start", "-m", model)
    assert (started["phase"], started["old_model"], started["new_model"]) == ("started", "stub_hash", model)
    (entry,) = load_config(project / "crdbvec.yaml").vectors
    assert entry.migration == MigrationSpec(model=model, second=SECOND)
    assert read_json("migrate", "status")[0]["rows_behind"] == 60
    assert {each["output"]: each["rows_embedded"] for each in read_json("embed")["vectors"]} == {
        "passage_vector": 0,
        SECOND: 60,
    }
    assert invoke("index", "build", "-o", SECOND).exit_code == 0
    (ready,) = read_json("migrate", "status")
    assert (ready["rows_behind"], ready["has_index"]) == (0, True)
    compared = read_json("migrate", "compare", "-q", 10)
    assert compared["queries"] == 10
    assert 0 <= compared["overlap"]["low"] <= compared["overlap"]["mean"] <= compared["overlap"]["high"] < 1
    before = read_json("search", "text 7", "-l", 1)
    switched = read_json("migrate", "switch")
    assert (switched["phase"], switched["seconds"] > 0) == ("switched", True)
    assert wrong_vectors(embedded, "passage_vector", model) == wrong_vectors(embedded, SECOND, "stub_hash") == []
    assert read_json("search", "text 7", "-l", 1)[0]["key"] == before[0]["key"]
    assert invoke("search", "text 7", "-v").stderr.count("Index scan on passage_passage_vector_index") == 1
    # Both are kept fresh.
    insert_rows(embedded, INT_SHAPE, {900: "a new text"})
    set_text(embedded, INT_SHAPE, 3, "an edited text")
    assert read_json("embed")["rows_embedded"] == 4
    assert wrong_vectors(embedded, "passage_vector", model) == wrong_vectors(embedded, SECOND, "stub_hash") == []
    assert read_json("migrate", "rollback")["phase"] == "started"
    assert wrong_vectors(embedded, "passage_vector", "stub_hash") == wrong_vectors(embedded, SECOND, model) == []
    assert read_json("embed")["rows_embedded"] == 0
    assert read_json("migrate", "switch")["phase"] == "switched"
    assert read_json("migrate", "finish")["phase"] == "finished"
    assert wrong_vectors(embedded, "passage_vector", model) == []
    names = embedded.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'passage'::regclass AND attnum > 0 AND NOT attisdropped"
    ).fetchall()
    assert sorted(name for (name,) in names) == ["id", "passage", "passage_vector", "passage_vector_fingerprint"]
    # The command has written the new model into the entry. One with the old model stands for the new column, too.
    assert load_config(project / "crdbvec.yaml").vectors == (before_start.with_model(model),)
    configure(project)
    assert read_json("embed")["rows_embedded"] == 0
    assert invoke("migrate", "finish").exit_code == 0
    assert (read_json("embed")["rows_embedded"], read_json("index", "status")["differences"]) == (0, [])


def test_index_build_without_a_selection_builds_those_of_both_columns(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    write_config(project, {"model": "stub_hash", "index": {}, "text_index": {}})
    assert invoke("migrate", "start", "-m", "stub_wide").exit_code == 0
    result = invoke("index", "build")
    assert result.exit_code == 1
    assert "The index passage_passage_vector_index is up to date." in result.stdout
    assert "Only 0.0% of the rows" in result.stderr
    assert f"have a current vector in {SECOND}" in result.stderr
    assert invoke("embed").exit_code == 0
    built = read_json("index", "build")
    assert (built["built"], built["text_index_built"]) == (False, False)
    second = built["second"]
    assert (second["output"], second["built"], second["text_index_built"]) == (SECOND, True, False)
    assert second["text_index"] == built["text_index"]
    assert invoke("migrate", "switch").exit_code == 0
    assert "second" not in read_json("index", "build", "-o", "passage_vector")


def error(invoke: Invoke, *arguments: object) -> str:
    result = invoke(*arguments)
    assert (result.exit_code in (1, 2), result.stdout) == (True, "")
    return result.stderr


def test_commands_say_what_is_missing(embedded: psycopg.Connection, invoke: Invoke) -> None:
    for name in ("compare", "switch", "rollback", "finish"):
        assert "is not being migrated. Run `crdbvec migrate start -m <new model>`." in error(invoke, "migrate", name)
    assert invoke("migrate", "status").stdout == "No vector column is being migrated.\n"
    assert "Name the new model with -m." in error(invoke, "migrate", "start")
    assert "is stub_hash already" in error(invoke, "migrate", "start", "-m", "stub_hash")
    assert "The model 'missing' does not exist." in error(invoke, "migrate", "start", "-m", "missing")
    sentence = "already has a column passage. Choose another column with --second."
    assert sentence in error(invoke, "migrate", "start", "-m", "stub_wide", "--second", "passage")
    assert invoke("migrate", "start", "-m", "stub_wide").exit_code == 0
    # The same command again continues.
    assert invoke("migrate", "start", "-m", "stub_wide").exit_code == 0
    assert "is being migrated from stub_hash to stub_wide already" in error(
        invoke, "migrate", "start", "-m", "stub_other"
    )
    assert "Run `crdbvec index build -t public.passage -o passage_vector_second`" in error(
        invoke, "migrate", "switch", "--wait", 0
    )
    assert "it must be switched" in error(invoke, "migrate", "rollback")
    assert "so the old vectors are in use. Run `crdbvec migrate switch` first" in error(invoke, "migrate", "finish")
    assert "is not a vector column of public.passage" in error(invoke, "status", "-o", "missing")


def test_switch_needs_every_row_and_an_index(embedded: psycopg.Connection, invoke: Invoke) -> None:
    prepare_switch(invoke)
    embedded.execute(f"UPDATE passage SET {SECOND} = NULL WHERE passage IN ('text 1', 'text 2')")
    assert "2 rows have a vector in public.passage.passage_vector and no current one in passage_vector_second" in error(
        invoke, "migrate", "switch", "--wait", 0
    )
    assert invoke("embed").exit_code == 0
    assert invoke("migrate", "switch", "--wait", 0).exit_code == 0
    assert "it must be started" in error(invoke, "migrate", "switch")
    assert "Run `crdbvec migrate rollback` before --abandon." in error(invoke, "migrate", "finish", "--abandon")


def test_migration_can_be_abandoned(embedded: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    prepare_switch(invoke)
    assert read_json("migrate", "finish", "--abandon")["phase"] == "abandoned"
    assert read_json("migrate", "status") == []
    assert wrong_vectors(embedded, "passage_vector", "stub_hash") == []
    assert read_json("index", "status")["exists"]
    prepare_switch(invoke, "stub_other")


def test_judged_questions_show_which_column_is_better(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    """The relevant rows are those that the old model finds, so it is the better one."""
    file = project / "questions.jsonl"
    questions = []
    for number in range(12):
        hits = read_json("search", f"text {number}", "-l", 3, "--exact")
        relevant = [hit["key"]["id"] for hit in hits]
        questions.append(json.dumps({"query": f"text {number}", "relevant": relevant, "kind": str(number % 2)}))
    file.write_text("\n".join(questions), encoding="utf-8")
    assert "has no second column" in error(invoke, "evaluate", "questions.jsonl", "--both")
    prepare_switch(invoke)

    compared = read_json("migrate", "compare", "--judged", "questions.jsonl", "-k", 3)
    judged = compared["judged"]
    assert (compared["queries"], judged["k"], judged["first"]["questions"]) == (12, 3, 12)
    assert judged["first"]["ndcg"]["value"] == pytest.approx(1)
    assert judged["second"]["recall"]["value"] < 0.9
    gained = judged["difference"]["ndcg"]
    assert gained["value"] == pytest.approx(judged["second"]["ndcg"]["value"] - 1)
    assert gained["low"] <= gained["value"] <= gained["high"] < 0
    shown = invoke("migrate", "compare", "--judged", "questions.jsonl", "-k", 3, "--plot", "compared.png").stdout
    assert "nDCG@3" in shown
    assert (project / "compared.png").read_bytes().startswith(b"\x89PNG")
    assert "Give one of" in error(
        invoke, "migrate", "compare", "--judged", "questions.jsonl", "--queries-file", "questions.jsonl"
    )

    both = read_json("evaluate", "questions.jsonl", "--both", "-k", 3)
    assert [each["model"] for each in both["columns"]] == ["stub_hash", "stub_wide"]
    assert [each["qualities"][0]["ndcg"] for each in both["columns"]] == [
        judged["first"]["ndcg"],
        judged["second"]["ndcg"],
    ]
    assert both["differences"] == {"vector": judged["difference"]}
    table = invoke("evaluate", "questions.jsonl", "--both", "-k", 3, "--plot", "both.png").stdout
    assert [line.split()[0] for line in table.splitlines() if "passage_vector" in line or "difference" in line] == [
        *3 * ["passage_vector", SECOND],
        "difference",
    ]
    assert (project / "both.png").read_bytes().startswith(b"\x89PNG")


def test_migration_of_an_earlier_version_of_the_metadata_is_continued(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    """Its table has no columns about chunks."""
    assert invoke("migrate", "start", "-m", "stub_other").exit_code == 0
    embedded.execute("ALTER TABLE crdbvec_migrations DROP COLUMN first_chunks, DROP COLUMN second_chunks")
    embedded.execute("ALTER TABLE crdbvec_migrations DROP COLUMN first_chunk_table")
    embedded.execute("UPDATE crdbvec_metadata_version SET version = 7 WHERE version = 8")
    assert [each["phase"] for each in read_json("migrate", "status")] == ["started"]
    assert read_json("search", "text 7", "-l", 1)[0]["input"] == "text 7"
    assert invoke("embed").exit_code == 0
    assert invoke("index", "build").exit_code == 0
    assert read_json("migrate", "switch")["phase"] == "switched"
    assert wrong_vectors(embedded, "passage_vector", "stub_other") == []


def test_search_that_begins_during_an_exchange_waits_for_its_end(
    embedded: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CockroachDB, where the columns are renamed while no model is recorded for them."""
    from crdbvec_pipelines.database.errors import ColumnExchanged
    from crdbvec_pipelines.database.search.query import SearchQuery
    from crdbvec_pipelines.search import searcher
    from tests.support.models import registry
    from tests.support.tables import column

    prepare_switch(invoke, "stub_other")
    recorded = embedded.execute("SELECT output, models FROM crdbvec_vector_columns").fetchall()
    embedded.execute("UPDATE crdbvec_migrations SET phase = 'switching'")
    embedded.execute("UPDATE crdbvec_vector_columns SET models = '[]'")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            embedded.execute("UPDATE crdbvec_migrations SET phase = 'started'")
            for output, models in recorded:
                embedded.execute("UPDATE crdbvec_vector_columns SET models = %s WHERE output = %s", (models, output))

    monkeypatch.setattr("time.sleep", wait)
    spec = column(model="stub_hash")
    with Database(embedded.info.dsn) as database:
        with pytest.raises(ColumnExchanged):
            searcher.Searcher(database, spec, stub("stub_hash"))
        waiting = searcher.Searcher(database, spec, stub("stub_hash"), registry())
        (result,) = waiting.search_texts(["text 7"], SearchQuery(limit=1))
    assert (result.hits[0].input, len(waits) >= 3) == ("text 7", True)


def test_configuration_file_is_kept(embedded: psycopg.Connection, project: Path, invoke: Invoke) -> None:
    file = project / "crdbvec.yaml"
    before = file.read_text(encoding="utf-8")
    started = invoke("migrate", "start", "-m", "stub_other", "--keep-config").stdout
    assert f"Write `migration: {{model: stub_other, second: {SECOND}}}` into the entry of passage_vector" in started
    abandoned = invoke("migrate", "finish", "--abandon", "--keep-config").stdout
    assert "Write `model: stub_hash` into the entry of passage_vector, without `migration`." in abandoned
    assert file.read_text(encoding="utf-8") == before


def test_interrupted_finish_is_named_and_continued(
    embedded: psycopg.Connection, invoke: Invoke, read_json: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_switch(invoke)
    assert invoke("migrate", "switch").exit_code == 0
    import crdbvec_pipelines.database.schema.exchange as module

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "uninstall", killed)
        assert invoke("migrate", "finish").exit_code == 130
    assert "The removal was interrupted. Run `crdbvec migrate finish" in invoke("migrate", "status").stdout
    assert invoke("embed").exit_code == 0
    assert read_json("migrate", "finish")["phase"] == "finished"
    assert "was dropped before." in invoke("migrate", "finish").stdout


def test_process_with_the_old_model_writes_no_vector_after_the_switch(
    embedded: psycopg.Connection, invoke: Invoke
) -> None:
    """Also with models of one dimension, of which the server cannot know."""
    from crdbvec_pipelines.database.errors import ColumnExchanged
    from crdbvec_pipelines.keyspace import KeyRange
    from tests.support.tables import column
    from tests.support.work import prepare

    with Database(embedded.info.dsn) as database:
        rows = prepare(database, column(model="stub_hash"))
        set_text(embedded, INT_SHAPE, 5, "an edited text")
        page = rows.read(KeyRange(), rows.all_passes[1], None, 10)
        vectors = stub("stub_hash").encode([(0, row.input) for row in page]).vectors
        prepare_switch(invoke, "stub_other")
        assert invoke("migrate", "switch").exit_code == 0
        with pytest.raises(ColumnExchanged):
            rows.write(page, vectors)
        with pytest.raises(ColumnExchanged):
            rows.read(KeyRange(), rows.all_passes[1], None, 10)
        with pytest.raises(ColumnExchanged):
            prepare(database, column(model="stub_hash"))
    assert wrong_vectors(embedded, "passage_vector", "stub_other") == []


def text_indexes(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%\\_text' ORDER BY 1").fetchall()
    return [name.removeprefix("passage_")[:-14] for (name,) in rows]


def test_evaluation_and_text_index_of_the_second_column(
    embedded: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    write_config(project, {"model": "stub_hash", "index": {}, "text_index": {}})
    assert invoke("index", "build", "--text").exit_code == 0
    (project / "questions.jsonl").write_text('{"query": "text 7", "relevant": [21]}\n')
    prepare_switch(invoke, "stub_other")
    # Both columns have the same input, and one text index.
    assert text_indexes(embedded) == ["passage_vector"]
    assert {each["text_index_state"] for each in read_json("status")} == {"built"}
    for options in ((), ("-o", SECOND)):
        qualities = read_json("evaluate", "questions.jsonl", *options)["qualities"]
        assert {each["mode"]: each["recall"]["value"] for each in qualities} == {
            "vector": 1,
            "keyword": 1,
            "hybrid": 1,
        }
    assert invoke("migrate", "switch").exit_code == 0
    assert read_json("evaluate", "questions.jsonl")["qualities"][0]["ndcg"]["value"] == 1
    assert invoke("migrate", "finish").exit_code == 0
    assert text_indexes(embedded) == ["passage_vector"]


def test_hybrid_search_mixes_no_models(embedded: psycopg.Connection, invoke: Invoke) -> None:
    """Each of its two statements sees the exchange, also with models of one dimension."""
    from crdbvec_pipelines.database.errors import ColumnExchanged
    from crdbvec_pipelines.database.search.keywords import KeywordSearch, TextQuery
    from crdbvec_pipelines.database.search.query import SearchQuery
    from crdbvec_pipelines.database.search.recorded_models import RecordedModels
    from crdbvec_pipelines.search.searcher import Searcher
    from tests.support.models import registry
    from tests.support.tables import column

    query = SearchQuery(limit=3, mode="hybrid")
    with Database(embedded.info.dsn) as database:
        spec = column(model="stub_hash", text_index={})
        follows = Searcher(database, spec, stub("stub_hash"), registry())
        stays = Searcher(database, spec, stub("stub_hash"))
        keywords = KeywordSearch(stays.column, RecordedModels(stays.column))
        words, vector = TextQuery(("'text' & '7'",)), stub("stub_hash").encode_query("text 7")
        assert [row[4] for row in keywords.find(words, query, vector)] == [21]
        assert follows.search_texts(["text 7"], query)[0].hits == stays.search_texts(["text 7"], query)[0].hits
        prepare_switch(invoke, "stub_other")
        assert invoke("migrate", "switch").exit_code == 0
        with pytest.raises(ColumnExchanged):
            keywords.find(words, query, vector)
        with pytest.raises(ColumnExchanged):
            stays.search_texts(["text 7"], query)
        # The words need no model.
        assert [row[4] for row in keywords.find(words, query)] == [21]
        (result,) = follows.search_texts(["text 7"], query)
    # A new process has the new model from the start.
    with Database(embedded.info.dsn) as database:
        opened = Searcher(database, column(model="stub_other", text_index={}), stub("stub_other"))
        assert result.hits == opened.search_texts(["text 7"], query)[0].hits
