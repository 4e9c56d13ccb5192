"""The checks of a vector column, evaluated, and what the instance then says of them."""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from tests.orchestration.project import Project

CHECKS = ("coverage", "drift", "vector_health", "row_errors")


@dataclass(frozen=True)
class Evaluation:
    """A check's latest evaluation."""

    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: dict[str, Any]


def evaluate(made: Project) -> dict[str, Evaluation]:
    """Evaluates all checks alone, as their button in the UI does."""
    every = made.definitions.resolve_asset_graph().asset_check_keys
    keys = {key for key in every if key.asset_key == made.asset}
    job = made.definitions.resolve_implicit_global_asset_job_def()
    job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(instance=made.instance)
    found = {key.name: latest(made, key.name) for key in keys}
    return {name: evaluation for name, evaluation in found.items() if evaluation is not None}


def latest(made: Project, name: str) -> Evaluation | None:
    """What the instance shows of a check; None before it was first evaluated."""
    key = dg.AssetCheckKey(made.asset, name)
    for record in made.instance.event_log_storage.get_asset_check_execution_history(key, limit=1):
        assert record.event is not None
        assert record.event.dagster_event is not None
        data = record.event.dagster_event.asset_check_evaluation_data
        return Evaluation(data.passed, data.severity, {name: value.value for name, value in data.metadata.items()})
    return None
