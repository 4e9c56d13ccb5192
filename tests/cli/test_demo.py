"""`crdbvec demo`: the first run loads, embeds and searches; a second run has nothing to embed."""

import re
from pathlib import Path

import dagster as dg
import psycopg

from crdbvec_pipelines.embedded import EmbeddedServer
from tests.support.processes import run_crdbvec

ROWS = 60


def test_demo_loads_embeds_with_dagster_and_searches(folder: Path) -> None:
    first = run_crdbvec(["demo", "--rows", str(ROWS), "--folder", "here"], folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"public.gloss: {ROWS} glosses loaded into the embedded PostgreSQL in here" in first.stdout
    assert f"coverage 100.0%: {ROWS} of {ROWS} rows have a vector, 0 pending; {ROWS} embedded in " in first.stdout
    assert len(re.findall(r"^search: ", first.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"^0\.\d+ --> [0-9a-f-]{36}$", first.stdout, re.MULTILINE)) == 9
    assert first.stdout.rstrip().endswith("make ui   (crdbvec ui)")
    assert [path.name for path in folder.iterdir()] == ["here"]

    server = EmbeddedServer(folder / "here" / "postgres")
    try:
        with psycopg.connect(server.url("crdbvec_demo")) as connection:
            found = connection.execute("SELECT count(*), count(gloss_vector) FROM gloss").fetchone()
            assert found == (ROWS, ROWS)
        with psycopg.connect(server.url("dagster")) as connection:
            for asset in ("gloss_vector", "gloss_vector_index"):
                materialized = connection.execute(
                    "SELECT count(*) FROM event_logs WHERE dagster_event_type = %s AND asset_key = %s",
                    (
                        dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                        dg.AssetKey(["public", "gloss", asset]).to_string(),
                    ),
                ).fetchone()
                assert materialized is not None
                assert materialized[0] >= 1, asset
            # The plot of the recall is there as well.
            checked = connection.execute(
                "SELECT check_name FROM asset_check_executions WHERE asset_key = %s",
                (dg.AssetKey(["public", "gloss", "gloss_vector_index"]).to_string(),),
            ).fetchall()
            assert {name for (name,) in checked} == {"index_used", "recall_at_k"}
    finally:
        server.stop()

    second = run_crdbvec(["demo", "--rows", str(ROWS), "--folder", "here"], folder)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 glosses loaded" in second.stdout
    assert "0 pending; 0 embedded in " in second.stdout
