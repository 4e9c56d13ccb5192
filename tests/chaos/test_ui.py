"""Ctrl-C of `crdbvec ui` while a run is in progress: everything ends, and the next start completes the work."""

import random
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.chaos.deployment import TIMEOUT_SECONDS, free_port, processes_of
from tests.chaos.webserver import Webserver
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long_form]

ROWS = 2_000


def test_ctrl_c_ends_all_processes_and_the_next_start_completes_the_work(folder: Path, seed: int) -> None:
    demo = run_crdbvec(["demo", "--rows", str(ROWS), "--folder", "here"], folder)
    assert demo.returncode == 0, demo.stdout + demo.stderr

    first = Ui(folder)
    with first.connect() as connection:
        connection.execute("UPDATE gloss SET gloss_vector = NULL, gloss_vector_fingerprint = NULL")
    run_id = first.launch("gloss_vector__follow")
    some = random.Random(seed).randrange(ROWS // 2)
    wait_until(lambda: first.embedded() > some, TIMEOUT_SECONDS)
    assert first.stop() == 0

    second = Ui(folder)
    assert second.embedded() < ROWS
    wait_until(lambda: second.status(run_id) in ("CANCELED", "FAILURE"), TIMEOUT_SECONDS)
    maintain = second.launch("gloss_vector__maintain")
    wait_until(lambda: second.status(maintain) in ("SUCCESS", "CANCELED", "FAILURE"), TIMEOUT_SECONDS)
    assert second.status(maintain) == "SUCCESS"
    assert second.embedded() == ROWS
    assert second.stop() == 0


class Ui:
    """A running `crdbvec ui`.

    Args:
        folder: The working directory, with the data of the demo in `here`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "here"
        self._log = folder / "ui.log"
        port = free_port()
        self._webserver = Webserver(f"http://127.0.0.1:{port}")
        with self._log.open("wb") as log:
            arguments = ["ui", "--folder", "here", "-p", str(port)]
            self._process = start_crdbvec(arguments, folder, limit_seconds=4 * TIMEOUT_SECONDS, output=log)
        wait_until(lambda: bool(self._webserver.jobs()), TIMEOUT_SECONDS)

    def connect(self) -> psycopg.Connection:
        """Connect to the database of the demo, whose URL is in the environment of Dagster's processes."""
        return psycopg.connect(processes_of(self._folder / "dagster")[0].environ()["CRDBVEC_URL"], autocommit=True)

    def embedded(self) -> int:
        """Return the number of rows with a vector."""
        with self.connect() as connection:
            row = connection.execute("SELECT count(gloss_vector) FROM gloss").fetchone()
        assert row is not None
        return int(row[0])

    def launch(self, job: str) -> str:
        """Launch a run of a job and return its id."""
        run_id = self._webserver.launch(job)
        assert run_id is not None
        return run_id

    def status(self, run_id: str) -> str:
        return self._webserver.status(run_id)

    def stop(self) -> int:
        """Press Ctrl-C, and return the exit code after all processes and the embedded server have ended."""
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(self._log.read_text(errors="replace"))
        assert [process.cmdline() for process in processes_of(self._folder / "dagster")] == []
        assert not (self._folder / "postgres" / "postmaster.pid").exists()
        return code
