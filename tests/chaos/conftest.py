"""The chaos tests: their servers, their scenarios, and the report of what each recovery has cost.

The ordinary suite runs a few scenarios at fixed moments. `make chaos` runs all of them CRDBVEC_CHAOS_ROUNDS times at
random moments; CRDBVEC_CHAOS_SEED repeats those of an earlier run, whose seeds are in the names of its tests.
"""

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from tests.chaos.deployment import Layout, running_deployment
from tests.chaos.scenario import ENTRY, ROWS, Finish, OpenScenario, Outcome, Scenario
from tests.orchestration.columns import BackfilledColumn
from tests.orchestration.daemon import prepare_home
from tests.support.long_form import ROUNDS
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.projects import write_config
from tests.support.servers import RestartableServer, restartable_postgres
from tests.support.tables import INT_SHAPE, create_table

SEED = int(os.environ.get("CRDBVEC_CHAOS_SEED") or (random.randrange(1_000_000) if ROUNDS else 1))

_OUTCOME = "chaos"
_scenario = pytest.StashKey[Scenario]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each scenario once per round, with a seed of its own."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize(
            "seed", [SEED + number for number in range(max(1, ROUNDS))], ids=lambda seed: f"seed{seed}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the state of Dagster and the ends of its logs with a failure."""
    report: pytest.TestReport = yield
    scenario = item.stash.get(_scenario, None)
    if report.when == "call" and report.failed and scenario is not None:
        report.sections.append(("state at the failure", scenario.describe()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each scenario has cost."""
    reports = terminalreporter.stats.get("passed", [])
    outcomes = [value for report in reports for name, value in report.user_properties if name == _OUTCOME]
    if outcomes:
        terminalreporter.section("recovery of each scenario")
    for outcome in outcomes:
        terminalreporter.write_line(outcome)


@pytest.fixture(scope="session")
def tables_server() -> Iterator[RestartableServer]:
    """The server of the tables."""
    with restartable_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def storage_server() -> Iterator[RestartableServer]:
    """The server of Dagster's storage."""
    with restartable_postgres() as server:
        yield server


@pytest.fixture
def open_scenario(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables_server: RestartableServer,
    storage_server: RestartableServer,
    seed: int,
) -> Iterator[OpenScenario]:
    """The opener of the scenario of a test."""
    with ExitStack() as stack:

        def open_(
            *,
            layout: Layout = "code-server",
            rows: int = ROWS,
            storage_settings: Mapping[str, str] = MappingProxyType({}),
            **entry: object,
        ) -> Scenario:
            url = stack.enter_context(tables_server.new_database())
            storage = stack.enter_context(storage_server.new_database())
            with psycopg.connect(storage, autocommit=True) as administrator:
                database = sql.Identifier(administrator.info.dbname)
                for name, value in storage_settings.items():
                    setting = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        database, sql.Identifier(name), sql.Literal(value)
                    )
                    administrator.execute(setting)
            config = write_config(tmp_path, {**ENTRY, **entry})
            calls = CallLog(tmp_path / "calls.jsonl")
            variables = {
                **prepare_home(tmp_path, config, url, storage),
                CALLS_VARIABLE: str(calls.path),
                "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
            }
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            connection = psycopg.connect(url, autocommit=True)
            create_table(connection, INT_SHAPE, [f"passage {number}" for number in range(rows)])
            instance = stack.enter_context(dg.DagsterInstance.get())
            column = BackfilledColumn(config, instance, connection, calls, "passage_vector")
            stack.callback(lambda: column.connection.close())
            deployment = stack.enter_context(running_deployment(tmp_path, layout))
            scenario = Scenario(
                name=request.node.name,
                random=random.Random(seed),
                deployment=deployment,
                column=column,
                url=url,
                tables=tables_server,
                storage=storage_server,
            )
            request.node.stash[_scenario] = scenario
            return scenario

        yield open_


@pytest.fixture
def finish(record_property: Any) -> Finish:
    """The end of each scenario."""

    def finish_(scenario: Scenario) -> None:
        outcome: Outcome = scenario.finish()
        record_property(_OUTCOME, str(outcome))

    return finish_
