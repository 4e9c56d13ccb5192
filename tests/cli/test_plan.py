"""`crdbvec plan`: the estimate as text and as JSON."""

from pathlib import Path

import psycopg

from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, set_text


def test_estimate_as_text(url: str, connection: psycopg.Connection, project: Path, invoke: Invoke) -> None:
    create_table(connection, texts=["a", "b", "a", ""])
    write_config(project, {"model": "stub_hash"})
    lines = invoke("plan", "-u", url).output.splitlines()
    assert lines[:3] == [
        "public.passage.passage_vector by stub_hash",
        "  4 rows: 0 embedded, 3 pending, 1 blank",
        "  pending: 3 unembedded, 0 edited, 0 from another model, 0 of unknown origin; 1 duplicate inputs",
    ]
    assert lines[3].startswith("  token count unknown for this model, ")
    assert lines[3].endswith(" rows/s (measured on 3 rows)")
    assert lines[4].startswith("  storage: 219 B for the column, ")
    assert lines[5] == "  statements:"
    assert any('ALTER TABLE "public"."passage" ADD COLUMN' in line and line.endswith(";") for line in lines[6:])


def test_estimate_without_pending_rows_has_no_rate(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke
) -> None:
    create_table(connection, texts=["a"])
    write_config(project, {"model": "stub_hash"})
    invoke("embed", "-u", url)
    output = invoke("plan", "-u", url).output
    assert "1 rows: 1 embedded, 0 pending, 0 blank" in output
    assert "rows/s" not in output


def test_estimate_as_json(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["a", "b", "c", ""])
    write_config(project, {"model": "stub_hash"}, {"model": "stub_hash", "output": "other"})
    invoke("embed", "-u", url, "-o", "passage_vector")
    set_text(connection, INT_SHAPE, 0, "edited")
    first, second = read_json("plan", "-u", url)
    assert {
        "table": "public.passage",
        "output": "passage_vector",
        "model": "stub_hash",
        "rows": 4,
        "embedded": 2,
        "pending": 1,
        "never_embedded": 0,
        "edited": 1,
        "other_model": 0,
        "blank": 1,
        "duplicates": 0,
        "tokens": None,
    }.items() <= first.items()
    assert first["rows_per_second"] > 0
    assert len(first["statements"]) == 1
    assert (second["output"], second["pending"], second["never_embedded"]) == ("other", 3, 3)
    assert len(second["statements"]) > 1


def test_estimate_names_what_the_model_does_not_read(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["a city", "\u0e1b\u0e23\u0e30", "word " * 300, "word " * 1_000])
    write_config(project, {"model": "hf_st_all_minilm_l6"})
    output = invoke("plan", "-u", url).output
    assert "about 1,311 tokens, of which the model encodes 519, " in output
    assert "  50.0% of the texts are truncated, because they are longer than the model's maximum input length" in output
    assert "  about 0.6% of the encoded tokens are unknown to the model; 25.0% of the texts are unreadable" in output
    (plan,) = read_json("plan", "-u", url)
    assert (plan["tokens"], plan["tokens_encoded"], plan["truncated"], plan["unreadable"]) == (1_311, 519, 0.5, 0.25)
    connection.execute("UPDATE passage SET passage = 'a city'")
    output = invoke("plan", "-u", url).output
    assert "about 16 tokens, " in output
    assert "truncated" not in output
    assert "unknown to the model" not in output


def test_estimate_names_deferred_rows(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["one", "REJECTED", "three"])
    write_config(project, {"model": "stub_failing"})
    invoke("embed", "-u", url)
    set_text(connection, INT_SHAPE, 0, "edited")
    assert "3 rows: 1 embedded, 1 pending, 0 blank, 1 deferred after a failure" in invoke("plan", "-u", url).output
    (plan,) = read_json("plan", "-u", url)
    assert (plan["pending"], plan["failed"], plan["deferred"], plan["sampled"]) == (1, 1, 1, 1)
