"""A deployment by `dagster dev` for the browser tests, with a table, a vector column and its index."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from tests.chaos.deployment import Deployment, running_deployment
from tests.orchestration.columns import BackfilledColumn
from tests.orchestration.daemon import prepare_home
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table, insert_rows
from tests.support.vectors import preferring_indexes
from tests.ui.browser import CHROMIUM, Ui, open_tab

T = TypeVar("T")

PARTITION_ROWS = 20
ROWS = 100
TEXTS = [f"passage {number}" for number in range(ROWS)]
PASSWORD = "canary-p4ssword"
ASSET = ("public", "passage", "passage_vector")
INDEX = ("public", "passage", "passage_vector_index")
ENTRY: dict[str, object] = {
    "model": "stub_slow",
    "batch_size": 5,
    "partitions": {"target_rows": PARTITION_ROWS},
    "index": {},
    "follow": {"interval_seconds": 5},
}


def _elsewhere(work: Callable[[], T]) -> T:
    """Call a function in another thread: that of a test has an event loop of Playwright, and Dagster starts one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@dataclass
class Site:
    """A running deployment.

    Attributes:
        deployment: Dagster's processes.
        column: The vector column.
        calls: The calls of its model.
        variables: The environment of the processes.
    """

    deployment: Deployment
    column: BackfilledColumn
    calls: CallLog
    variables: Mapping[str, str]

    def wait_for_success(self, run_id: str) -> None:
        """Wait until a run has succeeded."""
        webserver = self.deployment.webserver
        self.deployment.wait_until(lambda: webserver.status(run_id) in {"SUCCESS", "FAILURE", "CANCELED"})
        assert webserver.status(run_id) == "SUCCESS", self.deployment.end_of_logs()

    def prepare(self) -> None:
        """Make the partitions."""
        _elsewhere(self.column.project.prepare)
        self.column.read_partitions()

    def run(self, action: str, **options: Any) -> None:
        """Run one of the column's jobs in this process."""
        assert _elsewhere(lambda: self.column.project.run(action, **options)).success

    def reset(self) -> None:
        """Make table, partitions and assets those of the start, so that the tests can run in any order."""
        self.column.connection.execute(sql.SQL("TRUNCATE {}").format(self.column.table))
        insert_rows(self.column.connection, INT_SHAPE, dict(enumerate(TEXTS)), self.column.table)
        instance, names = self.column.instance, self.column.project.names
        for key in self.column.project.partitions:
            instance.delete_dynamic_partition(names.partitions, key)
        instance.wipe_assets([dg.AssetKey(ASSET), dg.AssetKey(INDEX)])
        self.prepare()

    def embed(self) -> None:
        """Make the partitions, and materialize all of them."""
        self.prepare()
        for key in self.column.partitions:
            self.run("encode_in_process", partition_key=key)


@pytest.fixture(scope="module")
def site(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The deployment of the tests of one file."""
    if CHROMIUM is None:
        pytest.skip("needs a browser: install the package chromium")
    home = tmp_path_factory.mktemp("ui")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        url, storage = (stack.enter_context(postgres.new_database()) for _ in range(2))
        # The server does not ask for a password.
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.replace("@", f":{PASSWORD}@")))
        calls = CallLog(home / "calls.jsonl")
        variables = {
            # The server would scan a table of this size.
            **prepare_home(home, write_config(home, ENTRY), preferring_indexes(url), storage),
            CALLS_VARIABLE: str(calls.path),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        create_table(connection, INT_SHAPE, TEXTS)
        instance = stack.enter_context(dg.DagsterInstance.get())
        column = BackfilledColumn(home / "crdbvec.yaml", instance, connection, calls, "passage_vector")
        yield Site(stack.enter_context(running_deployment(home, "dev")), column, calls, variables)


@pytest.fixture
def ui(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ui]:
    """A tab; while it is open, neither the browser nor Dagster may report an error."""
    for name, value in site.variables.items():
        monkeypatch.setenv(name, value)
    site.reset()
    logged = len(site.deployment.logs("dev"))
    with open_tab(site.deployment.webserver.url) as opened:
        yield opened
        assert opened.errors == []
    lines = site.deployment.logs("dev")[logged:].splitlines()
    errors = [line for line in lines if "ERROR" in line or "Traceback" in line]
    assert [line for line in errors if not any(text in line for text in opened.expected_in_log)] == []
