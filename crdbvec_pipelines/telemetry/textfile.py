"""The metrics of runs, for the textfile collector of Prometheus's node exporter.

A run ends, so nothing can scrape it. It writes a file for its vector column into the folder that the variable
CRDBVEC_METRICS_DIRECTORY names. Counters and histograms are added to those of the runs before, which are read from the
file; gauges are replaced.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "CRDBVEC_METRICS_DIRECTORY"

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]+")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def run_metrics(spec: VectorColumn) -> Iterator[Metrics | None]:
    """Yield the metrics of a run, which are written when the block ends; None if no folder is configured.

    A folder that cannot be written to does not fail the run.
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if not directory:
        yield None
        return
    metrics = Metrics()
    metrics.start(spec)
    try:
        yield metrics
    finally:
        add_to_textfile(metrics, spec, Path(directory))


def add_to_textfile(metrics: Metrics, spec: VectorColumn, directory: Path) -> None:
    """Add metrics to the file of a vector column. It is replaced at once, so that no half of it is read."""
    from filelock import FileLock
    from prometheus_client import generate_latest

    file = directory / f"crdbvec_{_FORBIDDEN.sub('_', str(spec))}.prom"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Several runs of a column may end at the same time.
        with FileLock(f"{file}.lock", timeout=10):
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            new = file.with_suffix(f".{os.getpid()}.tmp")
            new.write_text(merged(before, generate_latest(metrics.registry).decode()), encoding="utf-8")
            new.replace(file)
    except (OSError, TimeoutError) as error:
        logger.warning("The metrics were not written to %s: %s", file, type(error).__name__)


def merged(before: str, now: str) -> str:
    """Return the metrics of a run in text format, with the counters and histograms of the runs before added."""
    from prometheus_client.parser import text_string_to_metric_families as parse

    earlier: Samples = {}
    for family in parse(before):
        for sample in family.samples:
            earlier[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    lines = []
    for family in parse(now):
        if family.name.endswith("_created"):
            continue
        suffix = "_total" if family.type == "counter" else ""
        lines += [f"# HELP {family.name}{suffix} {family.documentation}", f"# TYPE {family.name}{suffix} {family.type}"]
        samples: Samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples
        }
        names = {f"{family.name}{end}" for end in ("", "_total", "_bucket", "_sum", "_count")}
        samples = {key: value for key, value in earlier.items() if key[0] in names} | {
            key: value + (0.0 if family.type == "gauge" else earlier.get(key, 0.0)) for key, value in samples.items()
        }
        lines += [f"{name}{_label_text(labels)} {value!r}" for (name, labels), value in samples.items()]
    return "\n".join(lines) + "\n"


def _label_text(labels: tuple[tuple[str, str], ...]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels) + "}" if labels else ""
