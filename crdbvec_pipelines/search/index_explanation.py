"""What the CockroachDB index of a vector column would do, on a sample of its rows: numbers and SVG pictures."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crdbvec_pipelines.cspann.accuracy import measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors, exact_distances
from crdbvec_pipelines.cspann.search import SearchOptions, search
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.space import Space
from crdbvec_pipelines.cspann.tree import Tree

BEAM_SIZES = (1, 2, 4, 8, 16, 32)
_SHOWN_BEAM_SIZE = 4
_ACCENT, _MUTED, _FOUND = "#4f43dd", "#c9c9d4", "#c0392b"


@dataclass(frozen=True)
class Explanation:
    """An index over a sample.

    Attributes:
        rows: The number of rows.
        levels: The number of levels.
        leaves: The number of leaves.
        moved: The number of entries that splits moved to or from other partitions.
        errors_within_bound: The share of the estimated distances whose error is within the bound.
        errors_99: The 99th percentile of the errors, in bounds.
        recall: The recall at 10 by beam size, of an index over all rows.
        recall_before_doubling: The same when half of the rows had been inserted.
        recall_after_deleting: The same after half of the rows have been deleted, without a rebuild.
        recall_rebuilt: The same of a new index over the rows that are left.
        pictures: SVG pictures by name: `cells`, `errors` and `recall`.
    """

    rows: int
    levels: int
    leaves: int
    moved: int
    errors_within_bound: float
    errors_99: float
    recall: dict[int, float]
    recall_before_doubling: dict[int, float]
    recall_after_deleting: dict[int, float]
    recall_rebuilt: dict[int, float]
    pictures: dict[str, bytes]


def explain_index(vectors: Vectors, queries: Vectors, settings: IndexSettings) -> Explanation:
    """Return what an index does with some vectors.

    Args:
        vectors: The vectors, at least two.
        queries: The queries, at least one.
        settings: The settings of the index.
    """
    space = Space(settings, vectors.shape[1])
    rows, asked = space.prepare(vectors), space.prepare(queries)
    random = np.random.default_rng([settings.seed, 6])
    order = random.permutation(len(rows))
    half = len(rows) // 2
    build = IncrementalBuild(settings, rows)
    build.insert(order[:half])
    before = _recalls(build.tree, asked, order[:half])
    build.insert(order[half:])
    recall = _recalls(build.tree, asked, order)
    tree = build.tree
    levels, leaves, changes = tree.levels, len(tree.on_level(1)), tree.changes.moved_in + tree.changes.moved_out
    errors = _errors(tree, asked)
    pictures = {"cells": _cells(tree, asked[0]), "errors": _error_picture(errors)}
    left = np.sort(random.permutation(len(rows))[:half])
    build.delete(np.setdiff1d(order, left))
    rebuilt = IncrementalBuild(settings, rows)
    rebuilt.insert(random.permutation(left))
    after, again = _recalls(tree, asked, left), _recalls(rebuilt.tree, asked, left)
    pictures["recall"] = _recall_picture(
        {
            f"{half:,} rows": before,
            f"doubled to {len(rows):,} rows": recall,
            "half deleted": after,
            "half deleted, rebuilt": again,
        }
    )
    return Explanation(
        *(len(rows), levels, leaves, changes),
        float((np.abs(errors) <= 1).mean()) if len(errors) else 1.0,
        float(np.quantile(np.abs(errors), 0.99)) if len(errors) else 0.0,
        *(recall, before, after, again),
        pictures,
    )


def _recalls(tree: Tree, queries: Vectors, alive: Numbers) -> dict[int, float]:
    is_alive = np.zeros(len(tree.vectors), bool)
    is_alive[alive] = True
    truth = true_neighbors(tree.settings.metric, queries, tree.vectors, 10, is_alive)
    return {
        beam_size: measure(tree, queries, truth, SearchOptions(10, beam_size), is_alive).recall
        for beam_size in BEAM_SIZES
    }


def _errors(tree: Tree, queries: Vectors) -> Vectors:
    """Return the errors of the estimated distances of all rows of some leaves, as multiples of their bounds."""
    if tree.levels == 1:
        return np.empty(0, np.float32)
    parts = []
    for leaf in tree.on_level(1)[:50]:
        if len(leaf):
            distances, bounds = tree.distances(queries[:20], leaf)
            exact = exact_distances(tree.settings.metric, queries[:20], tree.read(1, leaf.members))
            parts.append(((distances - exact)[bounds > 0] / bounds[bounds > 0]).ravel())
    return np.concatenate(parts)


def _cells(tree: Tree, query: Vectors) -> bytes:
    """Return the rows on the two directions in which they differ most, and the leaves that one search reads."""
    rows = np.flatnonzero(tree.leaves)
    vectors = tree.vectors[rows]
    mean = vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(vectors[:2_000] - mean, full_matrices=False)
    plane = directions[:2].T
    scan = tree.descend(query[None], 1, _SHOWN_BEAM_SIZE)
    (found,) = search(tree, query[None], SearchOptions(10, _SHOWN_BEAM_SIZE))
    read = scan.slots[0][scan.slots[0] >= 0]
    figure = Figure(figsize=(6.4, 5), layout="constrained")
    axes = figure.subplots()
    points = (vectors - mean) @ plane
    is_read = np.isin(tree.leaves[rows], read)
    axes.scatter(
        points[~is_read][:, 0], points[~is_read][:, 1], s=3, color=_MUTED, rasterized=True, label="rows of other leaves"
    )
    axes.scatter(
        points[is_read][:, 0],
        points[is_read][:, 1],
        s=6,
        color=_ACCENT,
        rasterized=True,
        label=f"rows of the {len(read)} leaves read",
    )
    centroids = np.stack([leaf.centroid for leaf in tree.on_level(1)])
    places = (centroids - mean) @ plane
    axes.scatter(places[:, 0], places[:, 1], s=14, marker="x", color="black", linewidths=0.7, label="centroids")
    near = (tree.vectors[found.rows] - mean) @ plane
    axes.scatter(near[:, 0], near[:, 1], s=26, facecolors="none", edgecolors=_FOUND, label="the 10 rows found")
    start = (query - mean) @ plane
    for place in places[np.isin([leaf.key for leaf in tree.on_level(1)], read)]:
        axes.plot([start[0], place[0]], [start[1], place[1]], color=_FOUND, linewidth=0.8)
    axes.scatter(start[0], start[1], s=90, marker="*", color=_FOUND, label="query")
    axes.set(title=f"{len(centroids)} leaves, {len(rows):,} rows: a search with beam size {_SHOWN_BEAM_SIZE}")
    axes.set(xticks=[], yticks=[])
    axes.legend(loc="best", fontsize=7)
    return _svg(figure)


def _error_picture(errors: Vectors) -> bytes:
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist(errors, bins=[step / 10 for step in range(-30, 31)], color=_ACCENT)
    for bound in (-1, 1):
        axes.axvline(bound, color=_FOUND, linestyle="--", linewidth=1)
    axes.set(xlabel="error of the estimated distance, in error bounds", ylabel="distances", title="quantization error")
    return _svg(figure)


def _recall_picture(curves: dict[str, dict[int, float]]) -> bytes:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes: Axes = figure.subplots()
    for (label, curve), style in zip(curves.items(), ("o--", "o-", "s-", "s--"), strict=True):
        axes.plot(list(curve), list(curve.values()), style, label=label, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(BEAM_SIZES, list(map(str, BEAM_SIZES)))
    axes.set(xlabel="beam size", ylabel="recall at 10", title="recall after changes, without a rebuild")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    """Return a picture that is the same each time: without a date, and with fixed names of its elements."""
    stream = BytesIO()
    with rc_context({"svg.hashsalt": "crdbvec"}):
        figure.savefig(stream, format="svg", metadata={"Date": None}, dpi=120)
    return stream.getvalue()
