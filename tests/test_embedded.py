"""The embedded server: it keeps its data, is shared by processes, and reports errors with the remedy."""

from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.errors import CrdbvecError
from tests.support.processes import ROOT, run_python


def test_data_is_kept_after_a_restart(folder: Path) -> None:
    server = EmbeddedServer(folder / "deep" / "postgres")
    with psycopg.connect(server.ensure_database('odd "name"'), autocommit=True) as connection:
        connection.execute("CREATE TABLE persistent (n INT8)")
    assert server.ensure_database('odd "name"') == server.url('odd "name"')
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url('odd "name"'))
    server = EmbeddedServer(folder / "deep" / "postgres")
    try:
        with psycopg.connect(server.ensure_database('odd "name"')) as connection:
            assert connection.execute("SELECT count(*) FROM persistent").fetchone() == (0,)
    finally:
        server.stop()


def test_server_has_pgvector_and_does_not_listen_on_a_port(folder: Path) -> None:
    server = EmbeddedServer(folder / "postgres")
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
    finally:
        server.stop()


def test_server_is_shared_with_another_process(folder: Path) -> None:
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


def test_error_of_the_start_names_log_and_remedy(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9", encoding="utf-8")
    with pytest.raises(CrdbvecError, match=r"PostgreSQL in .* did not start \(\w+\)\. Read its log ") as caught:
        EmbeddedServer(folder / "postgres")
    assert str(caught.value).endswith("or delete the folder to start again without its data.")


def test_path_with_a_space_is_rejected_before_the_folder_is_created(folder: Path) -> None:
    with pytest.raises(CrdbvecError, match=r"the path contains a space\. Choose another folder"):
        EmbeddedServer(folder / "my data" / "postgres")
    assert list(folder.iterdir()) == []
