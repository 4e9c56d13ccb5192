"""Plots of recall, measured over latency and predicted over bytes read, of search quality, and of texts."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from crdbvec_pipelines.search.recall import RecallCurve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crdbvec_pipelines.config import VectorColumn
    from crdbvec_pipelines.search.comparison import Comparison
    from crdbvec_pipelines.search.evaluation import Quality
    from crdbvec_pipelines.search.index_prediction import PredictedIndex
    from crdbvec_pipelines.search.judged import Judged


def recall_plot(curve: RecallCurve, title: str, target_recall: float) -> bytes:
    """Return the curve of recall over latency as a small PNG (under 50 kB, because Dagster's event log stores it)."""
    figure, axes = _new_figure()
    latencies = [each.p50_ms for each in curve.measurements]
    recalls = [each.recall for each in curve.measurements]
    axes.plot(latencies, recalls, marker="o", color="#4f43dd")
    for each in curve.measurements:
        axes.annotate(
            str(each.effort), (each.p50_ms, each.recall), textcoords="offset points", xytext=(4, -11), fontsize=8
        )
    axes.axhline(target_recall, color="#c0392b", linewidth=1, linestyle="--", label=f"target {target_recall:g}")
    axes.set(xlabel=f"median latency, ms (labels: {curve.setting})", ylabel=f"recall at {curve.k}", title=title)
    return _png(figure, axes, min([*recalls, target_recall]))


def prediction_plot(predicted: "PredictedIndex", title: str) -> bytes:
    """Return a curve of predicted recall over bytes read for each partition size, as a small PNG."""
    figure, axes = _new_figure()
    for size in predicted.sizes:
        searches = size.table.searches
        kilobytes = [each.bytes_read / 1_000 for each in searches]
        recalls = [each.recall for each in searches]
        axes.plot(kilobytes, recalls, marker="o", label=f"{size.max_partition_size} / {size.build_beam_size}")
        for read, each in zip(kilobytes, searches, strict=True):
            axes.annotate(
                str(each.beam_size), (read, each.recall), textcoords="offset points", xytext=(4, -11), fontsize=7
            )
    target = predicted.target_recall
    axes.axhline(target, color="#c0392b", linewidth=1, linestyle="--", label=f"target {target:g}")
    axes.set(xlabel="kB read by a search (labels: beam size)", ylabel=f"recall at {predicted.k}", title=title)
    axes.set_xscale("log")
    lowest = min(each.recall for size in predicted.sizes for each in size.table.searches)
    return _png(figure, axes, min(lowest, target), "partition size / build beam")


def by_mode(qualities: "Sequence[Quality]") -> "dict[str, list[Quality]]":
    """Return the qualities of each mode."""
    modes: dict[str, list[Quality]] = {}
    for each in qualities:
        modes.setdefault(each.mode, []).append(each)
    return modes


def quality_plot(series: "Mapping[str, Sequence[Quality]]", title: str, k: int) -> bytes:
    """Return the nDCG of each series for each kind of question, with confidence intervals, as a small PNG."""
    figure, axes = _new_figure()
    kinds = list(dict.fromkeys(each.kind for shown in series.values() for each in shown))
    for number, (label, shown) in enumerate(series.items()):
        places = [kinds.index(each.kind) + (number - (len(series) - 1) / 2) * 0.2 for each in shown]
        values = [each.ndcg.value for each in shown]
        below = [each.ndcg.value - each.ndcg.low for each in shown]
        above = [each.ndcg.high - each.ndcg.value for each in shown]
        axes.errorbar(places, values, yerr=[below, above], fmt="o", capsize=3, label=label)
    axes.set_xticks(range(len(kinds)), [kind or "all" for kind in kinds])
    axes.set(xlabel="questions of", ylabel=f"nDCG@{k}", title=title)
    return _png(figure, axes, min(each.ndcg.low for shown in series.values() for each in shown))


def comparison_plot(
    columns: "tuple[VectorColumn, VectorColumn]", compared: "Comparison", judged: "Judged | None" = None
) -> bytes:
    """Return how many queries have which overlap in two columns, and the latencies of both, as a small PNG.

    With judged questions, it also has their recall and nDCG with confidence intervals.
    """
    from matplotlib.figure import Figure

    count = 2 if judged is None else 3
    figure = Figure(figsize=(3.5 * count, 3.2), dpi=90, layout="constrained")
    of_overlap, of_latency, *of_quality = figure.subplots(1, count)
    edges = [(number - 0.5) / compared.k for number in range(compared.k + 2)]
    of_overlap.hist(compared.overlaps, bins=edges, color="#4f43dd")
    of_overlap.axvline(compared.overlap.mean, color="#c0392b", linewidth=1, linestyle="--", label="mean")
    of_overlap.set(xlabel=f"overlap at {compared.k}", ylabel=f"queries of {compared.queries}")
    of_overlap.legend(fontsize=8)
    both = (compared.first, compared.second)
    for name, shift, color in (("p50_ms", -0.2, "#4f43dd"), ("p95_ms", 0.2, "#a9a3f0")):
        places = [place + shift for place in range(2)]
        of_latency.bar(places, [getattr(each, name) for each in both], 0.4, color=color, label=name.partition("_")[0])
    of_latency.set_xticks(range(2), [f"{each.output}\n{each.model}" for each in columns], fontsize=7)
    of_latency.set(ylabel="latency of a search, ms")
    of_latency.legend(fontsize=8)
    if judged is not None:
        _plot_judged(of_quality[0], columns, judged)
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _plot_judged(axes: Any, columns: "tuple[VectorColumn, VectorColumn]", judged: "Judged") -> None:
    for number, (column, quality) in enumerate(zip(columns, (judged.first, judged.second), strict=True)):
        found = (quality.recall, quality.ndcg)
        places = [place + (number - 0.5) * 0.2 for place in range(2)]
        errors = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
        axes.errorbar(places, [each.value for each in found], yerr=errors, fmt="o", capsize=3, label=column.model)
    axes.set_xticks(range(2), [f"recall@{judged.k}", f"nDCG@{judged.k}"])
    axes.set(ylim=(-0.02, 1.02), ylabel=f"{judged.first.questions} questions")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=7)


def profile_plot(lengths: "Sequence[int]", window: int | None, distances: "Sequence[float]", title: str) -> bytes:
    """Return the distributions of tokens per text and of distances to the nearest row, as a small PNG."""
    figure, (above, below) = _new_figure(rows=2)
    if lengths:
        above.hist(lengths, bins=_logarithmic_bins(lengths), color="#4f43dd")
        above.set_xscale("log")
    if window is not None:
        above.axvline(window, color="#c0392b", linewidth=1, linestyle="--", label=f"the model reads {window:,}")
        above.legend(loc="upper right", fontsize=8)
    if distances:
        below.hist(distances, bins=40, color="#4f43dd")
    above.set(xlabel="tokens of a text", ylabel="rows", title=title)
    below.set(xlabel="distance to the nearest other row", ylabel="rows")
    return _saved(figure)


def _logarithmic_bins(lengths: "Sequence[int]") -> "Sequence[float]":
    import numpy as np

    first, last = max(1, min(lengths)), max(2, *lengths)
    return [float(each) for each in np.geomspace(first, last + 1, 40)]


def _new_figure(rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4 if rows == 1 else 4.6), dpi=90, layout="constrained")
    return figure, figure.subplots(rows)


def _png(figure: Any, axes: Any, lowest_recall: float, legend: str | None = None) -> bytes:
    axes.set_ylim(lowest_recall - 0.05, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8, title=legend, title_fontsize=8)
    return _saved(figure)


def _saved(figure: Any) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
