"""Every statement can be committed without an answer, and is then sent again: nothing is done twice or rejected."""

import json
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.keyspace import KeyRange
from tests.faults.table import assert_table_is_right, create_passages
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.proxy import Proxy
from tests.support.tables import column
from tests.support.work import prepared

ROWS = 40


def test_claim_that_was_committed_without_an_answer_is_held(proxy: Proxy, direct: psycopg.Connection) -> None:
    create_passages(direct, ROWS)
    with Database(proxy.url, max_connections=1) as database:
        claim = RangeClaim(prepared(database, column()), KeyRange())
        proxy.cut_after_next_commit()
        claim.acquire()
        assert proxy.commits_cut == 1
        assert direct.execute("SELECT count(*) FROM crdbvec_claims").fetchone() == (1,)
        claim.release()
        assert direct.execute("SELECT count(*) FROM crdbvec_claims").fetchone() == (0,)


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger"])
def test_every_statement_of_embed_may_be_committed_without_an_answer(
    proxy: Proxy, direct: psycopg.Connection, project: Path, staleness: str
) -> None:
    """Those that prepare the table, too: each is sent twice."""
    create_passages(direct, ROWS)
    direct.execute("UPDATE passage SET passage = 'REJECTED ' || passage WHERE id IN (3, 4)")
    write_config(
        project,
        {"model": "stub_failing", "batch_size": 16, "staleness": staleness, "updated_at": "updated", "index": {}},
    )
    proxy.cuts_every_second_commit = True
    completed = run_crdbvec(["embed", "--rebuild-index", "--json"], project)
    assert completed.returncode == 3, completed.stderr
    assert proxy.commits_cut > 10
    report = json.loads(completed.stdout)
    assert (report["rows_pending"], report["rows_failed_recorded"]) == (0, 2)
    direct.execute("UPDATE passage SET passage = 'corrected' WHERE id IN (3, 4)")
    assert run_crdbvec(["embed"], project).returncode == 0
    assert_table_is_right(direct)
    removed = run_crdbvec(["uninstall", "--yes", "--drop-column"], project)
    assert removed.returncode == 0, removed.stderr
