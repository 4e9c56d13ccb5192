"""The plot of recall over latency."""

from io import BytesIO

from crdbvec_pipelines.search.recall import RecallCurve


def recall_plot(curve: RecallCurve, title: str, target_recall: float) -> bytes:
    """Return the curve of recall over latency as a small PNG (under 50 kB, because Dagster's event log stores it)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    latencies = [each.p50_ms for each in curve.measurements]
    recalls = [each.recall for each in curve.measurements]
    axes.plot(latencies, recalls, marker="o", color="#4f43dd")
    for each in curve.measurements:
        axes.annotate(
            str(each.effort), (each.p50_ms, each.recall), textcoords="offset points", xytext=(4, -11), fontsize=8
        )
    axes.axhline(target_recall, color="#c0392b", linewidth=1, linestyle="--", label=f"target {target_recall:g}")
    axes.set(xlabel=f"median latency, ms (labels: {curve.setting})", ylabel=f"recall at {curve.k}", title=title)
    axes.set_ylim(min([*recalls, target_recall]) - 0.05, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
