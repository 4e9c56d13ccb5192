"""The launchpad of Dagster's UI: what it shows of a job or asset, and what it sends."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tests.chaos.webserver import LOCATION

ASSET_JOB = "__ASSET_JOB"
"""The job that Dagster launches for assets."""

_TIMEOUT_SECONDS = 120
_DEFAULT_CONFIG = """
query($selector: PipelineSelector!) { runConfigSchemaOrError(selector: $selector) {
    ... on RunConfigSchema { rootDefaultYaml allConfigTypes {
        ... on CompositeConfigType { fields { name description } } } }
    ... on PythonError { message }
} }
"""
_LAUNCH = """
mutation($parameters: ExecutionParams!) { result: launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message causes { message } }
    ... on RunConfigValidationInvalid { errors { message } }
} }
"""
_RUN = """
query($run: ID!) { runOrError(runId: $run) { ... on Run { status runConfigYaml } } }
"""
_FAILURES = """
query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { __typename
    ... on ExecutionStepFailureEvent { error { message causes { message } } }
    ... on RunFailureEvent { message error { message } }
} } } }
"""
_RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
_RESOURCES = """
query($selector: RepositorySelector!) { allTopLevelResourceDetailsOrError(repositorySelector: $selector) {
    ... on ResourceDetailsList { results { name configuredValues { key value type } } }
} }
"""


@dataclass(frozen=True)
class Launchpad:
    """The UI of a running webserver.

    Attributes:
        url: Its address.
    """

    url: str

    def default_config(self, job: str, *assets: Sequence[str]) -> str:
        """Return the run config with which the launchpad of a job, or of assets, opens."""
        return str(self._schema(job, assets)["rootDefaultYaml"])

    def descriptions(self, job: str, *assets: Sequence[str]) -> Mapping[str, str]:
        """Return the description of each field of the run config, as the launchpad shows it."""
        types = self._schema(job, assets)["allConfigTypes"]
        return {
            field["name"]: field["description"]
            for each in types
            for field in each.get("fields", ())
            if field["description"]
        }

    def launch(self, job: str, config: str, *assets: Sequence[str], **tags: str) -> dict[str, Any]:
        """Send what the button "Launch run" sends, and return the answer."""
        parameters = {
            "selector": self._selector(job, assets),
            "runConfigData": json.dumps(yaml.safe_load(config) or {}),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        result: dict[str, Any] = self.query(_LAUNCH, parameters=parameters)["result"]
        return result

    def run(self, run_id: str) -> dict[str, str]:
        """Return the status and the run config of a run."""
        found: dict[str, str] = self.query(_RUN, run=run_id)["runOrError"]
        return found

    def failures(self, run_id: str) -> list[dict[str, Any]]:
        """Return the failures of a run and of its steps."""
        events = self.query(_FAILURES, run=run_id)["logsForRun"]["events"]
        return [event for event in events if event["__typename"] in ("ExecutionStepFailureEvent", "RunFailureEvent")]

    def runs(self) -> set[str]:
        """Return the ids of all runs."""
        return {each["runId"] for each in self.query(_RUNS)["runsOrError"]["results"]}

    def resources(self) -> dict[str, dict[str, str]]:
        """Return the values of each resource as its page shows them."""
        selector = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
        found = self.query(_RESOURCES, selector=selector)["allTopLevelResourceDetailsOrError"]["results"]
        return {each["name"]: {value["key"]: value["value"] for value in each["configuredValues"]} for each in found}

    def query(self, query: str, **variables: object) -> Any:
        """Return the data with which the webserver answers a query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            # The status of an answer that contains an error, which the UI shows.
            answer = json.load(error)
        assert not answer.get("errors"), answer
        return answer["data"]

    def _schema(self, job: str, assets: Sequence[Sequence[str]]) -> Any:
        return self.query(_DEFAULT_CONFIG, selector=self._selector(job, assets, "pipelineName"))[
            "runConfigSchemaOrError"
        ]

    def _selector(self, job: str, assets: Sequence[Sequence[str]], name: str = "jobName") -> dict[str, object]:
        selection = {"assetSelection": [{"path": list(asset)} for asset in assets]} if assets else {}
        return {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            name: job,
            **selection,
        }
