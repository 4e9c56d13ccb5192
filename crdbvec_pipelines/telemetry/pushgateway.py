"""The metrics of runs, pushed to a Pushgateway of Prometheus, in one group per vector column and machine.

A Pushgateway keeps what was pushed last and adds nothing up. So a run reads its group, adds counters and histograms,
and replaces the group by the sums. The runs of one machine do so one after the other; each machine has its own groups.
"""

import base64
import hashlib
import logging
import os
import socket
import tempfile
from pathlib import Path

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.telemetry.accumulation import accumulated, read_samples
from crdbvec_pipelines.telemetry.metrics import Metrics, labels_of

logger = logging.getLogger(__name__)

URL_VARIABLE = "CRDBVEC_PUSHGATEWAY_URL"
INSTANCE_VARIABLE = "CRDBVEC_METRICS_INSTANCE"

# A run must not wait long for its metrics, and Dagster ends a tick of the sensor after 60 s.
_REPLY_SECONDS = 3.0
_LOCK_SECONDS = 10.0


def push(metrics: Metrics, spec: VectorColumn, url: str) -> None:
    """Add metrics to the group of a vector column. A failure is one warning, and the metrics are lost."""
    import httpx
    from filelock import FileLock

    group = {
        "job": "crdbvec",
        "instance": os.environ.get(INSTANCE_VARIABLE) or socket.gethostname(),
        **labels_of(spec),
    }
    try:
        with (
            FileLock(_lock_file(url, group), timeout=_LOCK_SECONDS, mode=0o600),
            httpx.Client(base_url=url.rstrip("/"), timeout=_REPLY_SECONDS, follow_redirects=True) as client,
        ):
            before = client.get("/metrics").raise_for_status().text
            earlier = {
                (name, tuple(sorted([*labels, *labels_of(spec).items()]))): value
                for (name, labels), value in read_samples(before, group).items()
            }
            client.put(
                _path(group),
                content=accumulated(earlier, metrics.text()).encode(),
                headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
            ).raise_for_status()
    except httpx.HTTPStatusError as error:
        _warn(spec, f"status {error.response.status_code}")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
        _warn(spec, type(error).__name__)


def _warn(spec: VectorColumn, reason: str) -> None:
    # Without the URL, which may contain a password.
    logger.warning("The metrics of %s were not pushed to the Pushgateway of %s: %s", spec, URL_VARIABLE, reason)


def _path(group: dict[str, str]) -> str:
    """Return the path of a group. Values are in base64, because they may be empty or contain a slash."""
    job, *rest = group.items()
    return f"/metrics/job/{job[1]}" + "".join(f"/{name}@base64/{_base64(value)}" for name, value in rest)


def _base64(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode() or "="


def _lock_file(url: str, group: dict[str, str]) -> Path:
    digest = hashlib.sha256(repr((url, group, os.getuid() if hasattr(os, "getuid") else 0)).encode()).hexdigest()
    return Path(tempfile.gettempdir()) / f"crdbvec_push_{digest[:16]}.lock"
