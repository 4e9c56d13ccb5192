"""Dagster's webserver, asked as its UI asks it: by GraphQL."""

import http.client
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

LOCATION = "crdbvec_pipelines"
_REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
# A busy machine, or a code server that has just started.
_TIMEOUT_SECONDS = 60

_LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {
    __typename ... on RepositoryLocation { repositories { jobs { name } } }
} } } } }
"""
_LAUNCH = """
mutation($parameters: ExecutionParams!) {
  result: launchRun(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
_TERMINATE = """
mutation($run: String!) { result: terminateRun(runId: $run) { __typename ... on PythonError { message } } }
"""
_STATUS = """
query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""
_START_SENSOR = """
mutation($sensor: SensorSelector!) { result: startSensor(sensorSelector: $sensor) {
    __typename ... on PythonError { message }
} }
"""


@dataclass(frozen=True)
class Webserver:
    """A running webserver.

    Attributes:
        url: Its address.
    """

    url: str

    def jobs(self) -> set[str]:
        """Return the names of the jobs of the code location; none while the webserver or the location is not ready."""
        try:
            entries = self._query(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError):
            return set()
        # A location whose server does not respond keeps its last definitions, which the entry of its error replaces.
        loaded = [entry["locationOrLoadError"] for entry in entries if entry["loadStatus"] == "LOADED"]
        return {
            job["name"]
            for location in loaded
            if location and location["__typename"] == "RepositoryLocation"
            for repository in location["repositories"]
            for job in repository["jobs"]
        }

    def launch(self, job: str) -> str | None:
        """Launch a run of a job, and return its id; None if the UI would show an error."""
        parameters = {"selector": {**_REPOSITORY, "jobName": job}, "runConfigData": {}}
        try:
            result = self._query(_LAUNCH, parameters=parameters)["result"]
        except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError) as error:
            print(f"launch of {job}: {error!r}")
            return None
        if result["__typename"] != "LaunchRunSuccess":
            print(f"launch of {job}: {result}")
            return None
        return str(result["run"]["runId"])

    def status(self, run_id: str) -> str:
        """Return the status of a run."""
        return str(self._query(_STATUS, run=run_id)["runOrError"]["status"])

    def terminate(self, run_id: str) -> None:
        """Terminate a run."""
        self._change(_TERMINATE, "TerminateRunSuccess", run=run_id)

    def start_sensor(self, name: str) -> None:
        """Switch a sensor on."""
        self._change(_START_SENSOR, "Sensor", sensor={**_REPOSITORY, "sensorName": name})

    def _change(self, mutation: str, success: str, **variables: object) -> None:
        result = self._query(mutation, **variables)["result"]
        assert result["__typename"] == success, result

    def _query(self, query: str, **variables: object) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            return json.load(response)["data"]
