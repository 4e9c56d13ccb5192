"""Metrics of runs added to those of the runs before: each run has counters of its own, which start at 0."""

from collections.abc import Mapping

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


def read_samples(text: str, group: Mapping[str, str] | None = None) -> Samples:
    """Return the samples of a text in Prometheus's format.

    Args:
        text: The text.
        group: Only those with these labels, which are removed; None for all.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted = dict(group or {})
    return {
        (sample.name, tuple(sorted((key, value) for key, value in sample.labels.items() if key not in wanted))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if {key: sample.labels.get(key, "") for key in wanted} == wanted
    }


def accumulated(earlier: Samples, now: str) -> str:
    """Return the metrics of a run in text format, with the counters and histograms of the runs before added.

    Gauges are replaced. What this run does not have is kept.
    """
    from prometheus_client.parser import text_string_to_metric_families

    lines = []
    for family in text_string_to_metric_families(now):
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


def _label_text(labels: Labels) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels) + "}" if labels else ""
