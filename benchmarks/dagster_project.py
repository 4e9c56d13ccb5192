"""A project folder with a Dagster instance: `dagster dev` on it, and backfills launched as the UI launches them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks.processes import run_child, running_child
from crdbvec_pipelines.config import VectorColumn, parse_config
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url

ROOT = Path(__file__).parents[1]
# The option that names the code location of the checkout.
WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))
# The first start imports everything with cold caches.
_START_LIMIT_SECONDS = 600
_POLL_SECONDS = 0.1

_LAUNCH = """
mutation Launch($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


@dataclass(frozen=True)
class DagsterProject:
    """A folder with crdbvec.yaml and dagster.yaml, and the environment of its processes."""

    folder: Path
    column: VectorColumn
    names: AssetNames
    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        """Run a command of the project to its end and return what it prints."""
        return run_child(self.line(*command), self.folder, self.environment)

    @contextmanager
    def started(self, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command of the project in the background."""
        with running_child(self.line(*command), self.folder, self.environment, self._log) as process:
            yield process

    def line(self, *command: str) -> list[str]:
        """Return a command with the path of this environment's script."""
        return [str(Path(sys.executable).with_name(command[0])), *command[1:]]

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def end_of_log(self) -> str:
        """Return the end of what the background command has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3_000:]

    @contextmanager
    def dagster_dev(self) -> Iterator["RunningDagster"]:
        """Run Dagster's webserver, daemon and code server."""
        port = _free_port()
        with self.started("dagster", "dev", *WORKSPACE, "-p", str(port), "-h", "127.0.0.1") as process:
            running = RunningDagster(self, process, f"http://127.0.0.1:{port}/graphql")
            running.wait_for_start()
            yield running


@dataclass(frozen=True)
class RunningDagster:
    """A running `dagster dev`."""

    project: DagsterProject
    process: "subprocess.Popen[bytes]"
    url: str

    def wait_for_start(self) -> None:
        """Wait until the code location is loaded."""
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        query = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"
        while time.monotonic() < deadline:
            try:
                entries = self.query(query)["workspaceOrError"]["locationEntries"]
            except (OSError, KeyError):
                entries = []
            if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
                return
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(self.project.end_of_log())

    def query(self, query: str, variables: Mapping[str, object] | None = None) -> Any:
        """Send a GraphQL query and return its data."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["data"]

    def launch_backfill(self, partitions: list[str]) -> str:
        """Launch a backfill of partitions of the vector column, and return its id."""
        parameters = {
            "assetSelection": [{"path": list(self.project.names.asset)}],
            "partitionNames": partitions,
            "fromFailure": False,
        }
        found = self.query(_LAUNCH, {"parameters": parameters})["launchPartitionBackfill"]
        if found["__typename"] != "LaunchBackfillSuccess":
            raise RuntimeError(f"The backfill was not launched: {found}")
        return str(found["backfillId"])

    def wait_for_backfill(self, instance: dg.DagsterInstance, backfill_id: str, limit_seconds: float) -> str:
        """Wait for the end of a backfill, and return its status."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline:
            backfill = instance.get_backfill(backfill_id)
            status = backfill.status.value if backfill else "MISSING"
            if status not in ("REQUESTED", "MISSING"):
                return status
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(self.project.end_of_log())


def make_project(folder: Path, url: str, storage: str, entry: Mapping[str, object], models: Path) -> DagsterProject:
    """Write the files of a project with one vector column.

    Args:
        folder: An empty folder.
        url: The database with the table.
        storage: The database for Dagster's storage.
        entry: The entry of `vectors`.
        models: A folder of model wrappers.
    """
    given = {"database": {"url": url}, "models": {"directories": [str(models)]}, "vectors": [dict(entry)]}
    file = folder / "crdbvec.yaml"
    file.write_text(yaml.safe_dump(given), encoding="utf-8")
    shutil.copy(ROOT / "dagster.yaml", folder)
    config = parse_config(given, str(file), folder)
    (column,) = config.vectors
    environment = {
        **os.environ,
        "CRDBVEC_CONFIG": str(file),
        "DAGSTER_HOME": str(folder),
        URL_VARIABLE: sqlalchemy_url(storage),
    }
    return DagsterProject(folder, column, asset_names(config)[str(column)], environment)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
