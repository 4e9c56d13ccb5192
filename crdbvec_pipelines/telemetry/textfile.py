"""The metrics of runs, in files for the textfile collector of Prometheus's node exporter, one per vector column."""

import logging
import os
import re
from pathlib import Path

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.telemetry.accumulation import accumulated, read_samples
from crdbvec_pipelines.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "CRDBVEC_METRICS_DIRECTORY"

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]+")


def add_to_textfile(metrics: Metrics, spec: VectorColumn, directory: Path) -> None:
    """Add metrics to the file of a vector column. It is replaced at once, so that no half of it is read."""
    from filelock import FileLock

    file = directory / f"crdbvec_{_FORBIDDEN.sub('_', str(spec))}.prom"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Several runs of a column may end at the same time.
        with FileLock(f"{file}.lock", timeout=10):
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            new = file.with_suffix(f".{os.getpid()}.tmp")
            new.write_text(accumulated(read_samples(before), metrics.text()), encoding="utf-8")
            new.replace(file)
    except (OSError, TimeoutError) as error:
        logger.warning("The metrics were not written to %s: %s", file, type(error).__name__)
