"""The exit codes of docs/errors.md, each reached by a process. Those of signals are tested in test_signals.py."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.models import CallLog
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

Entry = Mapping[str, Any]


@pytest.fixture
def url(project: Path, calls: CallLog, postgres: Server) -> Iterator[str]:
    """The URL of a database with a table whose rows have different outcomes."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=["plain", "REJECTED", None])
        connection.execute("CREATE TABLE accepted (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO accepted VALUES (1, 'plain')")
        connection.execute("CREATE TABLE outage (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO outage VALUES (1, 'UNAVAILABLE')")
        connection.execute("CREATE TABLE invalid (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO invalid SELECT n, 'REJECTED' FROM generate_series(1, 100) AS n")
        yield url


def codes_of(
    url: str, project: Path, cases: Mapping[str, tuple[Sequence[str], Entry, str]], *, with_output: bool = False
) -> dict[str, int]:
    """Run each case as a process, check what it prints, and return the exit codes."""
    codes = {}
    for name, (arguments, entry, words) in cases.items():
        write_config(project, {"model": "stub_failing", **entry})
        done = run_crdbvec(arguments, project, CRDBVEC_URL=url)
        assert words in done.stdout + done.stderr, name
        assert "Traceback" not in done.stderr, name
        assert done.returncode == 0 or with_output or done.stdout == "", name
        codes[name] = done.returncode
    return codes


def test_0_if_the_command_has_finished(url: str, project: Path) -> None:
    cases: dict[str, tuple[Sequence[str], Entry, str]] = {
        "all rows are embedded": (["embed"], {"table": "accepted"}, "1 rows embedded"),
        "nothing is pending": (["embed"], {"table": "accepted"}, "0 rows embedded"),
        "failed rows": (["errors", "list"], {}, "No rows have failed."),
        "following has ended": (["embed", "-F", "--max-idle", "0"], {"table": "accepted"}, "0 rows embedded"),
        "help": (["embed", "--help"], {}, "Usage:"),
    }
    assert set(codes_of(url, project, cases).values()) == {0}


def test_3_if_rows_have_failed(url: str, project: Path) -> None:
    cases: dict[str, tuple[Sequence[str], Entry, str]] = {
        "a row fails": (["embed"], {}, "1 failed (run `crdbvec errors list`)"),
        "it has failed before": (["embed", "--json"], {}, '"rows_failed_recorded": 1'),
    }
    assert set(codes_of(url, project, cases, with_output=True).values()) == {3}


def test_1_if_another_attempt_may_succeed(url: str, project: Path) -> None:
    cases: dict[str, tuple[Sequence[str], Entry, str]] = {
        "the model is unavailable": (["embed"], {"table": "outage"}, "overloaded"),
        "all rows fail": (["embed"], {"table": "invalid"}, "probably misconfigured"),
        "the server is unavailable": (["status", "-u", "postgresql://me@127.0.0.1:1/db"], {}, "could not be reached"),
        "too few rows for the index": (["index", "build", "-t", "invalid"], {"table": "invalid"}, "embed"),
    }
    assert set(codes_of(url, project, cases).values()) == {1}


def test_2_if_another_attempt_ends_in_the_same_way(url: str, project: Path) -> None:
    write_config(project, {"model": "stub_failing"})
    assert run_crdbvec(["embed"], project, CRDBVEC_URL=url).returncode == 3
    separator = "&" if "?" in url else "?"
    cases: dict[str, tuple[Sequence[str], Entry, str]] = {
        "option": (["embed", "--nothing"], {}, "No such option"),
        "value of an option": (["search", "x", "--max-distance", "nan"], {}, "NaN is not a distance"),
        "folder of a plot": (["index", "tune", "--plot", "none/plot.png"], {}, "There is no folder none."),
        "configuration file": (["embed", "-c", "none.yaml"], {}, "There is no configuration file none.yaml"),
        "entry": (["embed"], {"outptu": "x"}, "did you mean output?"),
        "cron": (["plan"], {"schedule": "61 * * * *"}, "is not a cron expression"),
        "URL": (["status", "-u", "topsecret"], {}, "The database URL is not valid."),
        "option of the URL": (["status", "-u", f"{url}{separator}sslmode=never"], {}, "sslmode"),
        "host": (
            ["status", "-u", "postgresql://me@none.invalid/db"],
            {},
            "No connection to the database can be opened",
        ),
        "role": (["status", "-u", url.replace("postgres@", "absent_role@", 1)], {}, "does not exist"),
        "table": (["embed"], {"table": "none"}, "There is no table public.none"),
        "column": (["search", "x"], {"table": "outage"}, "no vector column"),
        "model": (["model", "desc", "none"], {}, "The model 'none' does not exist"),
        "row": (["search", "--like", "99"], {}, "99"),
    }
    codes = codes_of(url, project, cases)
    assert {name: code for name, code in codes.items() if code != 2} == {}


def test_2_if_the_doctor_has_found_an_error(url: str, project: Path) -> None:
    write_config(project, {"table": "none"})
    done = run_crdbvec(["doctor"], project, CRDBVEC_URL=url)
    assert (done.returncode, done.stderr) == (2, "")
    assert "There is no table public.none" in done.stdout
