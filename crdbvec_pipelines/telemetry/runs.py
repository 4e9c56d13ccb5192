"""The metrics of runs. A run ends, so nothing can scrape it: it writes a textfile, or pushes to a Pushgateway, or both.

The variable CRDBVEC_METRICS_DIRECTORY names the folder of the textfiles, CRDBVEC_PUSHGATEWAY_URL the Pushgateway.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.telemetry.metrics import Metrics
from crdbvec_pipelines.telemetry.pushgateway import URL_VARIABLE, push
from crdbvec_pipelines.telemetry.textfile import DIRECTORY_VARIABLE, add_to_textfile


@contextmanager
def run_metrics(spec: VectorColumn) -> Iterator[Metrics | None]:
    """Yield the metrics of a run, which are written when the block ends; None if no destination is configured.

    A folder that cannot be written to, or a Pushgateway that is unavailable, does not fail the run.
    """
    directory, gateway = os.environ.get(DIRECTORY_VARIABLE), os.environ.get(URL_VARIABLE)
    if not directory and not gateway:
        yield None
        return
    metrics = Metrics()
    metrics.start(spec)
    try:
        yield metrics
    finally:
        if directory:
            add_to_textfile(metrics, spec, Path(directory))
        if gateway:
            push(metrics, spec, gateway)
