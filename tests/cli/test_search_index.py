"""`crdbvec search` with filters, by the key of a row, as SQL, as a query plan; the strategy that it reports."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, create_table

TEXTS: list[str | None] = [f"text {number}" for number in range(40)] + [None]
KEYS: list[Any] = [INT_SHAPE.key(number)[0] for number in range(len(TEXTS))]


@pytest.fixture
def searched(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> psycopg.Connection:
    """A table with vectors and other columns, and its entry in crdbvec.yaml."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash", "index": {"metric": "cosine", "prefix": ["tenant"]}})
    create_table(connection, texts=TEXTS)
    connection.execute("ALTER TABLE passage ADD COLUMN tenant TEXT, ADD COLUMN year INT4")
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE passage SET tenant = %s, year = %s WHERE id = %s",
            [(f"t{number % 3}", 2000 + number % 4, key) for number, key in enumerate(KEYS)],
        )
    assert invoke("embed").exit_code == 0
    return connection


def ids(hits: list[dict[str, dict[str, object]]]) -> set[object]:
    return {hit["key"]["id"] for hit in hits}


def test_filters_on_one_column_mean_or_and_on_several_columns_mean_and(
    searched: psycopg.Connection, read_json: Json
) -> None:
    hits = read_json("search", "a", "-l", 100, "--where", "tenant=t1", "--where", "tenant=t2", "--where", "year=2003")
    assert ids(hits) == {KEYS[number] for number in range(40) if number % 3 in (1, 2) and number % 4 == 3}


def test_value_of_a_filter_may_contain_an_equals_sign(searched: psycopg.Connection, read_json: Json) -> None:
    assert read_json("search", "a", "--where", "tenant=t1=2") == []


def test_filters_compare_in_the_type_of_their_column(searched: psycopg.Connection, read_json: Json) -> None:
    searched.execute("ALTER TABLE passage ADD COLUMN attributes JSONB")
    searched.execute("""UPDATE passage SET attributes = '{"color": "red", "size": 10}' WHERE year < 2002""")
    conditions = ["year >= 2001", "attributes.color=red", "attributes.size>9", "tenant IN (t1, t2)"]
    hits = read_json("search", "a", "-l", 100, *(word for each in conditions for word in ("--where", each)))
    assert ids(hits) == {KEYS[number] for number in range(40) if number % 3 in (1, 2) and number % 4 == 1}


def test_strategy_of_a_filtered_search_is_reported_on_stderr(searched: psycopg.Connection, invoke: Invoke) -> None:
    reason = "[INFO] Exact scan: there is no vector index."
    assert invoke("search", "a", "--where", "tenant=t1").stderr.splitlines() == [reason]
    as_json = invoke("search", "a", "--where", "tenant=t1", "--json")
    assert as_json.stderr.splitlines() == [reason]
    assert len(json.loads(as_json.stdout)) == 10
    assert invoke("search", "a", "--where", "tenant=t1", "--exact").stderr == ""
    assert invoke("search", "a").stderr == ""
    assert invoke("search", "a", "-v").stderr.splitlines()[-1] == reason


def test_verbose_output_explains_the_distance(searched: psycopg.Connection, invoke: Invoke) -> None:
    assert "[INFO] Distance: cosine distance: 0 same direction, 2 opposite" in invoke("search", "a", "-v").stderr


def test_rows_similar_to_a_row_do_not_include_that_row(searched: psycopg.Connection, read_json: Json) -> None:
    hits = read_json("search", "--like", KEYS[7], "-l", 100, "--all-prefixes")
    assert ids(hits) == {key for number, key in enumerate(KEYS) if number not in (7, 40)}
    assert [hit["distance"] for hit in hits] == sorted(hit["distance"] for hit in hits)
    texts = {hit["input"]: hit["distance"] for hit in read_json("search", "text 7", "-l", 100)}
    assert hits[0]["distance"] == pytest.approx(texts[hits[0]["input"]], abs=1e-6)


def test_rows_similar_to_a_row_are_those_of_its_tenant(
    searched: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    of_tenant = {key for number, key in enumerate(KEYS[:40]) if number % 3 == 1}
    assert ids(read_json("search", "--like", KEYS[7], "-l", 100)) == of_tenant - {KEYS[7]}
    note = "[INFO] Only rows with tenant = t1, as in this row; --all-prefixes searches all rows."
    assert invoke("search", "--like", KEYS[7]).stderr.splitlines() == [note]
    of_other = {key for number, key in enumerate(KEYS[:40]) if number % 3 == 2}
    assert ids(read_json("search", "--like", KEYS[7], "-l", 100, "--where", "tenant=t2")) == of_other
    assert "'t1'::text" in invoke("search", "--like", KEYS[7], "--sql").stdout
    assert "'t1'::text" not in invoke("search", "--like", KEYS[7], "--sql", "--all-prefixes").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--where", "tenant=T1"],
            "No row of public.passage has tenant = T1. There are rows with 't1': upper and lower case are different "
            "values.",
        ),
        (["--where", "year>2010"], "No row of public.passage has year > 2010."),
        (
            ["--where", "year IN (1, 2)"],
            "No row of public.passage has a value of the filter on year.",
        ),
        (
            ["--where", "year=2000", "--where", "id=-5999997"],
            "No row of public.passage matches all conditions together, although some rows match each of them.",
        ),
        (["--max-distance", "-1"], "The nearest row is at the distance 0.0000, and the maximum is -1."),
        (
            ["--max-distance", "-1", "--where", "tenant=t1"],
            "The nearest row is at the distance 0.0000, and the maximum is -1.",
        ),
    ],
)
def test_search_without_hits_says_why(
    searched: psycopg.Connection, invoke: Invoke, arguments: list[str], reason: str
) -> None:
    result = invoke("search", "text 1", *arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[0] == f"[INFO] No hits: {reason}"


def test_search_without_hits_says_that_matching_rows_have_no_vector(
    searched: psycopg.Connection, invoke: Invoke
) -> None:
    searched.execute("UPDATE passage SET tenant = 'new' WHERE passage IS NULL")
    result = invoke("search", "text 1", "--where", "tenant=new")
    sentence = "The rows of public.passage with tenant = new have no vector yet. Run `crdbvec embed`."
    assert result.stderr.splitlines()[0] == f"[INFO] No hits: {sentence}"


def test_composite_key_is_given_as_several_values(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
    read_json: Json,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash"})
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    invoke("embed")
    key = [argument for value in COMPOSITE_SHAPE.key(7) for argument in ("--like", value)]
    hits = read_json("search", *key, "-l", 50)
    assert len(hits) == 39
    assert tuple(hits[0]["key"].values()) != COMPOSITE_SHAPE.key(7)
    result = invoke("search", "--like", "only one")
    assert result.exit_code == 2
    assert "The key of public.passage is (realm, chapter, verse); the number of values given is 1." in result.stderr


def test_each_of_several_texts_has_its_own_result(
    searched: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    results = read_json("search", "text 3", "text 5", "-l", 2)
    assert [set(result) for result in results] == [{"query", "strategy", "reason", "hits"}] * 2
    assert [result["query"] for result in results] == ["text 3", "text 5"]
    assert [result["strategy"] for result in results] == ["exact_scan", "exact_scan"]
    assert [result["reason"] for result in results] == ["Exact scan: there is no vector index."] * 2
    assert [result["hits"][0]["input"] for result in results] == ["text 3", "text 5"]
    lines = invoke("search", "text 3", "text 5", "-l", 2).stdout.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["text 3:", "text 5:"]


def test_further_columns_are_shown(searched: psycopg.Connection, invoke: Invoke, read_json: Json) -> None:
    (hit,) = read_json("search", "text 5", "-l", 1, "--columns", "tenant, year")
    assert hit["columns"] == {"tenant": "t2", "year": 2001}
    shown = invoke("search", "text 5", "-l", 1, "--columns", "tenant,year").stdout.splitlines()
    assert shown[-1] == "tenant: t2, year: 2001"


def test_max_distance_excludes_farther_rows(searched: psycopg.Connection, read_json: Json) -> None:
    all_hits = read_json("search", "text 5", "-l", 100)
    far = all_hits[4]["distance"] + 1e-9
    assert read_json("search", "text 5", "-l", 100, "--max-distance", far) == all_hits[:5]


@pytest.mark.parametrize("arguments", [["text 5"], ["text 5", "--where", "tenant=it's"], ["--like", KEYS[5]]])
def test_printed_sql_returns_the_same_rows(
    searched: psycopg.Connection, invoke: Invoke, read_json: Json, arguments: list[object]
) -> None:
    hits = read_json("search", *arguments, "-l", 5)
    printed = invoke("search", *arguments, "-l", 5, "--sql").stdout
    assert printed.rstrip().endswith(";")
    rows = []
    for line in printed.splitlines():
        cursor = searched.execute(line.encode())
        rows = cursor.fetchall() if cursor.description else []
    assert rows == [(hit["distance"], hit["input"], hit["key"]["id"]) for hit in hits]


def test_explain_prints_the_query_plan(searched: psycopg.Connection, invoke: Invoke) -> None:
    query_plan = invoke("search", "text 5", "--explain").stdout
    assert "passage" in query_plan
    assert "text 5" not in query_plan
    assert invoke("search", "--like", KEYS[5], "--explain").stdout


def test_index_scan_is_reported_with_the_index_and_the_effort(
    postgres: Server, project: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, read_json: Json
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", f"{url}&options=-c%20enable_seqscan%3Doff")
        write_config(project, {"model": "stub_hash", "index": {"metric": "cosine", "effort": 30}})
        create_table(connection, texts=TEXTS)
        invoke("embed")
        invoke("index", "build")
        exact = read_json("search", "text 5", "--exact")
        name = "passage_passage_vector_index"
        for option in ([], ["--beam-size", 31], ["--ef-search", 31], ["--effort", 31]):
            result = invoke("search", "text 5", "-v", "--json", *option)
            reason = f"Index scan on {name} (hnsw.ef_search {30 + bool(option)})."
            assert result.stderr.splitlines()[-1] == f"[INFO] {reason}"
            assert json.loads(result.stdout) == exact
        (result, _) = read_json("search", "text 5", "text 6")
        assert (result["strategy"], result["reason"]) == ("index_scan", f"Index scan on {name} (hnsw.ef_search 30).")
        assert name in invoke("search", "text 5", "--explain").stdout
        assert name not in invoke("search", "text 5", "--explain", "--exact").stdout


def test_postgresql_reports_that_it_has_no_follower_reads(
    postgres: Server, project: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project, {"model": "stub_hash"})
        create_table(connection, texts=TEXTS)
        invoke("embed")
        result = invoke("search", "text 5", "--follower-read", "-l", 1)
    assert result.exit_code == 0
    assert result.stderr == "[INFO] PostgreSQL has no follower reads; the search reads current data.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give texts to search for, the key of a row with --like, or an image file"),
        (["a", "--like", KEYS[1]], "Give texts to search for, the key of a row with --like, or an image file"),
        (["a", "--where", "tenant"], "'tenant' is not a condition. Write COLUMN=VALUE, also with !=, <, <=, > and >=;"),
        (["a", "--where", "=t1"], "'=t1' is not a condition. Write COLUMN=VALUE"),
        (["a", "--where", "year~1"], "The column year of public.passage is of type "),
        (["a", "--sql", "--json"], "--json prints hits and cannot be combined with --sql or --explain."),
        (["a", "--where", "tenent=t1"], "public.passage has no column tenent. Its columns are id, passage,"),
        (["a", "--columns", "tenent"], "public.passage has no column tenent. Its columns are id, passage,"),
        (["a", "--where", "year=soon"], "'soon' of the filter on year is not a value of it: "),
        (["--like", "4711"], "public.passage has no row with the key 4711."),
        (["--like", KEYS[40]], f"The row {KEYS[40]} of public.passage has no vector yet. Run `crdbvec embed` first."),
        (["--like", "one"], "A value is not valid for the type of its column: "),
    ],
)
def test_invalid_input_is_reported_without_a_traceback(
    searched: psycopg.Connection, invoke: Invoke, arguments: list[object], sentence: str
) -> None:
    result = invoke("search", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_search_before_the_first_embed_says_what_to_run(
    project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project, {"model": "stub_hash"})
    create_table(connection, texts=TEXTS)
    result = invoke("search", "a")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "public.passage has no vector column passage_vector yet. Run `crdbvec embed` first.\n"
    )
