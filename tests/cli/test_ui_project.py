"""`crdbvec ui` for the tables of crdbvec.yaml: its home, its partitions, and the variables that the user has set."""

import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url
from tests.support.processes import CRDBVEC, LIMIT_SECONDS, run_crdbvec, start
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

PARTITIONS = "crdbvec/public/passage/passage_vector"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """The URL of a database with a table of 80 rows."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[f"passage {number}" for number in range(80)])
        yield url


def run_ui(folder: Path, *shown: str, **variables: str) -> str:
    """Run `crdbvec ui` until it has printed all texts, stop it, and return what it printed."""
    log = folder / "log"
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = start([*CRDBVEC, "ui", "-p", str(port)], folder, variables, output=output)
        wait_until(
            lambda: process.poll() is not None or all(text in log.read_text(encoding="utf-8") for text in shown),
            LIMIT_SECONDS,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 0, log.read_text(encoding="utf-8")
    return log.read_text(encoding="utf-8")


def test_own_tables_have_a_lasting_home_the_limits_and_their_partitions(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(folder, {"partitions": {"target_rows": 20}})
    added = "public.passage.passage_vector: 4 partitions, 4 added, 0 removed"
    printed = run_ui(folder, added, "Serving dagster-webserver", CRDBVEC_URL=url)
    home = folder / ".crdbvec" / "project"
    assert printed.startswith(f"The tables of crdbvec.yaml; DAGSTER_HOME is {home / 'dagster'}\n")
    assert printed.endswith("Stopped.\n")
    settings = yaml.safe_load((home / "dagster" / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings["concurrency"] == {"runs": {"max_concurrent_runs": 4}}
    assert [path.name for path in (folder / ".crdbvec").iterdir()] == ["project"]
    server = EmbeddedServer(home / "postgres")
    try:
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        monkeypatch.setenv(URL_VARIABLE, sqlalchemy_url(server.url("dagster")))
        with dg.DagsterInstance.get() as instance:
            assert len(instance.get_dynamic_partitions(PARTITIONS)) == 4
    finally:
        server.stop()


def test_variables_of_the_user_are_kept(folder: Path, url: str, postgres: Server) -> None:
    (folder / "home").mkdir()
    # Without a run launcher or a storage, so Dagster uses SQLite.
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    (folder / "conf").mkdir()
    write_config(folder / "conf", {"partitions": {"target_rows": 40}, "table": "missing"}, {"output": "other"})
    printed = run_ui(
        folder,
        "There is no table public.missing",
        "public.passage.other: 1 partitions, 1 added",
        "Serving dagster-webserver",
        CRDBVEC_URL=url,
        CRDBVEC_CONFIG="conf/crdbvec.yaml",
        DAGSTER_HOME=str(folder / "home"),
    )
    assert printed.startswith(f"The tables of conf/crdbvec.yaml; DAGSTER_HOME is {folder / 'home'}\n")
    assert "Then launch the job " in printed
    assert {path.name for path in (folder / ".crdbvec" / "project").iterdir()} == {"ui.lock"}


def test_own_tables_need_a_configuration_file_and_a_url(folder: Path, url: str) -> None:
    without_file = run_crdbvec(["ui"], folder, CRDBVEC_URL=url)
    assert without_file.returncode == 2
    assert without_file.stderr == (
        "Error: There is no configuration file crdbvec.yaml. Run `crdbvec init` to write one, or `crdbvec ui --demo` "
        "to see the demo.\n"
    )
    write_config(folder)
    without_url = run_crdbvec(["ui"], folder)
    assert without_url.returncode == 2
    assert without_url.stderr.startswith("Error: The environment variable CRDBVEC_URL is not set")
    write_config(folder, {"model": "none"})
    without_model = run_crdbvec(["ui"], folder, CRDBVEC_URL=url)
    assert without_model.returncode == 2
    assert "vectors[0].model: The model 'none' does not exist." in without_model.stderr
    assert not (folder / ".crdbvec").exists()
