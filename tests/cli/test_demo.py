"""`crdbvec demo`: the first run loads, embeds and searches; a second run has nothing to embed."""

import json
import re
import shutil
from pathlib import Path

import dagster as dg
import psycopg

from crdbvec_pipelines.embedded import EmbeddedServer
from tests.support.processes import ROOT, run_crdbvec
from tests.support.projects import write_config

ROWS = 60


def test_demo_loads_embeds_with_dagster_and_searches(folder: Path) -> None:
    first = run_crdbvec(["demo", "--rows", str(ROWS), "--folder", "here"], folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"public.gloss: {ROWS} glosses loaded into the embedded PostgreSQL in here" in first.stdout
    assert f"coverage 100.0%: {ROWS} of {ROWS} rows have a vector, 0 pending; {ROWS} embedded in " in first.stdout
    assert len(re.findall(r"^search: ", first.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"^0\.\d+ --> [0-9a-f-]{36}$", first.stdout, re.MULTILINE)) == 9
    assert "crdbvec ui --folder here\n" in first.stdout
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


def test_other_commands_work_on_the_demo_without_a_url(folder: Path) -> None:
    assert run_crdbvec(["status"], folder).stderr.startswith("Error: No vector column is selected.")
    done = run_crdbvec(["demo", "--rows", "30"], folder)
    assert done.returncode == 0, done.stderr
    assert 'crdbvec search "a bird that cannot fly" -l 3' in done.stdout

    notice = "[INFO] This is the database of the demo in .crdbvec. Set CRDBVEC_URL to work on another one."
    status = run_crdbvec(["status", "--json"], folder)
    (column,) = json.loads(status.stdout)
    assert (column["table"], column["output"], column["rows"], column["embedded"]) == (
        "public.gloss",
        "gloss_vector",
        30,
        30,
    )
    assert status.stderr.splitlines() == [notice]
    found = run_crdbvec(["search", "a bird that cannot fly", "-l", "2", "--json"], folder)
    assert (found.returncode, len(json.loads(found.stdout))) == (0, 2)

    # The configuration of a checkout is that of the demo. One's own needs its own URL.
    shutil.copy(ROOT / "crdbvec.yaml", folder)
    assert run_crdbvec(["status"], folder).stderr.splitlines() == [notice]
    write_config(folder)
    own = run_crdbvec(["status"], folder)
    assert own.returncode == 2
    assert own.stderr.startswith("Error: The environment variable CRDBVEC_URL is not set")
    (folder / "crdbvec.yaml").unlink()
    other = run_crdbvec(["status"], folder, CRDBVEC_URL="postgresql://me@127.0.0.1:1/crdbvec_demo")
    assert other.returncode == 2
    assert "No vector column is selected" in other.stderr
