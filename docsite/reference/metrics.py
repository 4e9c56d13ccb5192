"""Every metric, from the catalog of the code."""

from crdbvec_pipelines.telemetry.catalog import LABELS, METRICS

_HEAD = """\
# Metrics

Every metric for Prometheus. [Monitoring](../monitoring.md#metrics) says how they are collected.

| metric | kind | meaning | buckets |
|---|---|---|---|
"""


def metrics() -> str:
    """Return the page."""
    rows = "".join(
        f"| `{each.name}` | {each.kind} | {each.meaning} | {', '.join(f'{bound:g}' for bound in each.buckets)} |\n"
        for each in METRICS
    )
    return _HEAD + rows + f"\nEach metric has the labels {', '.join(f'`{label}`' for label in LABELS)}.\n"
