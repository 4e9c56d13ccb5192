"""The broker's settings that decide whether runs survive its restart, where they can be read."""

from collections.abc import Iterator

import dagster as dg
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from crdbvec_pipelines.database.diagnosis.finding import Finding

_TIMEOUT_SECONDS = 5


def broker_findings(app: Celery, instance: dg.DagsterInstance, worker: str, slots: int) -> Iterator[Finding]:
    """Yield what is known about the broker and the other workers.

    Args:
        app: The Celery app of the instance's run launcher.
        instance: The instance.
        worker: The name of the worker that is about to start.
        slots: How many runs it executes at the same time.
    """
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_TIMEOUT_SECONDS)
            yield Finding("ok", "broker", None, f"The broker {connection.as_uri()} answers.")
            if connection.transport.driver_type == "redis":
                yield from _redis_findings(connection.default_channel.client)
    except (OperationalError, OSError) as error:
        yield Finding(
            "error",
            "broker",
            None,
            f"The broker does not answer ({type(error).__name__}).",
            "Start it, or correct `broker` in run_launcher.config of dagster.yaml.",
        )
        return
    yield from _worker_findings(app, instance, worker, slots)


def _redis_findings(client: "Redis") -> Iterator[Finding]:
    for setting, expected, level in (("maxmemory-policy", "noeviction", "error"), ("appendonly", "yes", "warning")):
        try:
            value = client.config_get(setting).get(setting)
        except RedisError:
            # Managed services do not allow CONFIG.
            yield Finding(
                "warning", "broker", None, f"Redis does not show {setting}.", f"Make sure that it is {expected}."
            )
            continue
        if value == expected:
            yield Finding("ok", "broker", None, f"Redis has {setting} {value}.")
            continue
        lost = "runs in the queue can be evicted" if level == "error" else "a restart loses the runs in the queue"
        yield Finding(
            "error" if level == "error" else "warning",
            "broker",
            None,
            f"Redis has {setting} {value}, so {lost}.",
            f"Set {setting} {expected} in redis.conf.",
        )


def _worker_findings(app: Celery, instance: dg.DagsterInstance, worker: str, slots: int) -> Iterator[Finding]:
    stats = app.control.inspect(timeout=1.0).stats() or {}
    if worker in stats:
        yield Finding(
            "error",
            "workers",
            None,
            f"A worker with the name {worker} is running.",
            "Stop it, or give this one another name with --name: a name must identify the worker of a run.",
        )
        return
    others = sum(found.get("pool", {}).get("max-concurrency", 0) for found in stats.values())
    queue = instance.get_concurrency_config().run_queue_config
    limit = queue.max_concurrent_runs if queue else -1
    text = f"{slots + others} runs fit into {len(stats) + 1} workers; max_concurrent_runs is {limit}."
    if 0 <= limit <= slots + others:
        yield Finding("ok", "workers", None, text)
    else:
        yield Finding(
            "warning",
            "workers",
            None,
            text,
            "Start more workers, or lower it: a run that waits in the broker longer than start_timeout_seconds fails.",
        )
