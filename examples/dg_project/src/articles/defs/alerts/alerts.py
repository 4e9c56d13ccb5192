"""Alerts of vector columns: of each failed run, and of each check when its result has changed to failed."""

import json
import os
import urllib.request

import dagster as dg

COLUMN_TAG = "crdbvec/vector_column"
CHECKS = [
    dg.AssetCheckKey(dg.AssetKey(["public", "article", "body_vector"]), name)
    for name in ("coverage", "drift", "row_errors", "vector_health")
]


def send(text: str) -> None:
    """Send a message to the channel of the team, whose address is in ALERTS_URL."""
    request = urllib.request.Request(
        os.environ["ALERTS_URL"], json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


def _passes(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool:
    """Return whether the latest result of a check is not a failure; an execution in progress has no result yet."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=10):
        if record.evaluation is not None:
            return record.evaluation.passed
    return True


@dg.run_failure_sensor(default_status=dg.DefaultSensorStatus.STOPPED)
def vector_run_failed(context: dg.RunFailureSensorContext) -> None:
    """Report a failed run of a vector column. Dagster calls this after the last retry, too."""
    column = context.dagster_run.tags.get(COLUMN_TAG)
    if column is not None:
        send(f"{column}: the run {context.dagster_run.run_id} of {context.dagster_run.job_name} has failed.")


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED)
def vector_check_failed(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Report each check whose latest result is a failure, once until it passes again."""
    reported = set(json.loads(context.cursor or "[]"))
    failing = {key.to_user_string() for key in CHECKS if not _passes(context.instance, key)}
    for check in sorted(failing - reported):
        send(f"The check {check} fails.")
    context.update_cursor(json.dumps(sorted(failing)))
    return dg.SkipReason(f"{len(failing)} checks fail.")
