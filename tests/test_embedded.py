"""The embedded server: keeps its data, is shared by processes, and says what is wrong in a sentence."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.errors import CrdbvecError
from tests.support.processes import ROOT, run_python


def test_a_folder_keeps_its_data_over_a_restart(folder: Path) -> None:
    server = EmbeddedServer(folder / "deep" / "postgres")
    with psycopg.connect(server.ensure_database('odd "name"'), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n INT8)")
    assert server.ensure_database('odd "name"') == server.url('odd "name"')
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url('odd "name"'))
    server = EmbeddedServer(folder / "deep" / "postgres")
    try:
        with psycopg.connect(server.ensure_database('odd "name"')) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        server.stop()


def test_it_has_pgvector_and_listens_on_no_port(folder: Path) -> None:
    server = EmbeddedServer(folder / "postgres")
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
    finally:
        server.stop()


def test_it_stays_while_another_process_uses_it(folder: Path) -> None:
    source = (
        "from pathlib import Path; from crdbvec_pipelines.embedded import EmbeddedServer; "
        f"print(EmbeddedServer(Path({str(folder / 'postgres')!r})).url())"
    )
    server = EmbeddedServer(folder / "postgres")
    try:
        assert run_python(source, ROOT).strip() == server.url()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def test_a_server_that_does_not_start_is_one_sentence(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9", encoding="utf-8")
    with pytest.raises(CrdbvecError, match=r"PostgreSQL in .* does not start \(\w+\); its log is ") as caught:
        EmbeddedServer(folder / "postgres")
    assert "Removing the folder starts afresh" in str(caught.value)


def test_a_path_with_a_space_is_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(CrdbvecError, match="whose path holds a space; choose another folder"):
        EmbeddedServer(folder / "my data" / "postgres")
    assert list(folder.iterdir()) == []
