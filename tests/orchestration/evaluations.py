"""Evaluations of a vector column's checks, as the instance stores them."""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from tests.orchestration.project import Project

CHECKS = ("coverage", "drift", "vector_health", "row_errors", "unreadable", "truncated")


@dataclass(frozen=True)
class Evaluation:
    """The latest evaluation of a check."""

    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: dict[str, Any]


def evaluate(project: Project, *names: str) -> dict[str, Evaluation]:
    """Evaluate some checks, by default all, without a materialization, as the UI does."""
    all_checks = project.definitions.resolve_asset_graph().asset_check_keys
    keys = {key for key in all_checks if key.asset_key == project.asset and key.name in (names or CHECKS)}
    job = project.definitions.resolve_implicit_global_asset_job_def()
    job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(instance=project.instance)
    found = {key.name: latest(project, key.name) for key in keys}
    return {name: evaluation for name, evaluation in found.items() if evaluation is not None}


def latest(project: Project, name: str) -> Evaluation | None:
    """Return the latest evaluation of a check; None if it was never evaluated."""
    key = dg.AssetCheckKey(project.asset, name)
    for record in project.instance.event_log_storage.get_asset_check_execution_history(key, limit=1):
        assert record.event is not None
        assert record.event.dagster_event is not None
        data = record.event.dagster_event.asset_check_evaluation_data
        return Evaluation(data.passed, data.severity, {name: value.value for name, value in data.metadata.items()})
    return None
