"""The Celery settings that launcher and workers share. `config_source` of dagster.yaml replaces single ones."""

from collections.abc import Mapping
from typing import Any

from crdbvec_pipelines.errors import ConfigurationError

DEFAULT_QUEUE = "dagster"
EXECUTE_RUN_TASK = "crdbvec_pipelines.execute_run"

_WEEK_SECONDS = 7 * 24 * 3_600

TRANSPORT_OPTIONS: Mapping[str, Any] = {
    # Redis gives a message to another worker if it is not acknowledged within this time, and a run may take days.
    "visibility_timeout": _WEEK_SECONDS,
    # Without these, a broker whose host has disappeared blocks the daemon and the workers for minutes.
    "socket_connect_timeout": 5,
    "socket_timeout": 30,
    "socket_keepalive": True,
    "max_retries": 3,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}

SETTINGS: Mapping[str, Any] = {
    # A message is acknowledged after its run. If the worker dies, the launcher fails the run and Dagster retries it, so
    # the message must not be delivered again.
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,
    # A worker takes no run that it cannot start at once.
    "worker_prefetch_multiplier": 1,
    # A run continues while the broker is unavailable, and the worker connects again without a limit of attempts.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # The launcher asks workers and needs no results. The settings are for a result backend that is configured anyway.
    "result_expires": _WEEK_SECONDS,
    "result_backend_always_retry": True,
}


def merged_settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings with those of dagster.yaml; `broker_transport_options` is merged, too."""
    given = given or {}
    options = {**TRANSPORT_OPTIONS, **(given.get("broker_transport_options") or {})}
    return {**SETTINGS, **given, "broker_transport_options": options}


def check_settings(settings: Mapping[str, Any], max_runtime_seconds: float) -> None:
    """Check the settings against the longest run that the instance allows.

    Args:
        settings: The merged settings.
        max_runtime_seconds: `run_monitoring.max_runtime_seconds`; 0 if it is not set.

    Raises:
        ConfigurationError: With these settings, runs would be lost or started twice.
    """
    required = {name: SETTINGS[name] for name in ("task_acks_late", "task_reject_on_worker_lost")}
    wrong = {name: value for name, value in required.items() if settings[name] != value}
    if wrong:
        raise ConfigurationError(f"Set {_listed(wrong)} in run_launcher.config.config_source of dagster.yaml.")
    visibility = settings["broker_transport_options"]["visibility_timeout"]
    if visibility <= max_runtime_seconds:
        raise ConfigurationError(
            f"The visibility_timeout of the broker ({visibility:,} s) is not longer than the longest run "
            f"({max_runtime_seconds:,.0f} s, run_monitoring.max_runtime_seconds), so Redis would deliver a run again "
            "while it is in progress. Set a longer one in config_source.broker_transport_options of dagster.yaml."
        )


def _listed(values: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}: {str(value).lower()}" for name, value in values.items())
