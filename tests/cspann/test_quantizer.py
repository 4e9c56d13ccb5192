"""The quantizer: the statistics of its estimates, the exact cases, and the numbers of an implementation by bits."""

import numpy as np
import pytest

from crdbvec_pipelines.cspann.metrics import exact_distances
from crdbvec_pipelines.cspann.quantizer import Codes, Quantizer
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from crdbvec_pipelines.cspann.space import Space
from tests.cspann.literal import LiteralIndex, Node
from tests.support.embeddings import mixture
from tests.support.vectors import METRICS

ROWS, QUERIES = 900, 80


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [128, 384])
def test_errors_have_the_documented_distribution(metric: Metric, dim: int) -> None:
    settings = IndexSettings(metric)
    vectors = Space(settings, dim).prepare(mixture(ROWS + QUERIES, dim))
    rows, queries = vectors[:ROWS], vectors[ROWS:]
    centroid = rows.mean(axis=0)
    quantizer = Quantizer(metric, dim)
    codes = quantizer.encode(rows, centroid)
    distances, bounds = quantizer.estimate(queries, codes, centroid)
    errors = (distances - exact_distances(metric, queries, rows)) / bounds
    assert abs(errors.mean()) < 0.02
    assert errors.std() == pytest.approx(0.78, abs=0.03)
    assert 0.785 <= (abs(errors) <= 1).mean() <= 0.815
    assert np.quantile(abs(errors), 0.99) == pytest.approx(2.0, abs=0.08)
    assert (1 / codes.inverses).mean() == pytest.approx(0.798, abs=0.003)


def test_estimates_are_those_of_bits_and_bit_planes() -> None:
    dim = 100
    vectors = Space(IndexSettings(), dim).prepare(mixture(50, dim))
    rows, query = vectors[:49], vectors[49]
    centroid = rows.mean(axis=0)
    quantizer = Quantizer("cosine", dim)
    distances, bounds = quantizer.estimate(query[None], quantizer.encode(rows, centroid), centroid)
    literal = LiteralIndex(dim, 4, 16, 4, seed=0)
    literal.offsets = quantizer._offsets.astype(np.float64)
    node = Node(2, 1, centroid.astype(np.float64), 1)
    for key, row in enumerate(rows):
        literal.add(node, key, row.astype(np.float64))
    hits = literal.estimates(query.astype(np.float64), node)
    np.testing.assert_allclose(distances[0], [hit.distance for hit in hits], atol=1e-5)
    np.testing.assert_allclose(bounds[0], [hit.bound for hit in hits], atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_centroid_as_query_and_as_vector_has_exact_distances(metric: Metric) -> None:
    vectors = Space(IndexSettings(metric), 64).prepare(mixture(20, 64))
    centroid = vectors[0]
    quantizer = Quantizer(metric, 64)
    codes = quantizer.encode(vectors, centroid)
    assert (codes.radii[0], codes.inverses[0]) == (0, 0)
    distances, bounds = quantizer.estimate(vectors, codes, centroid)
    exact = exact_distances(metric, vectors, vectors)
    np.testing.assert_allclose(distances[0], exact[0], atol=1e-5)
    np.testing.assert_allclose(distances[:, 0], exact[:, 0], atol=1e-5)
    assert not bounds[0].any()
    assert not bounds[:, 0].any()


def test_distance_out_of_range_is_clipped_and_its_bound_shrinks() -> None:
    distances, bounds = np.array([[-0.1, 0.5, 2.3]], np.float32), np.full((1, 3), 0.2, np.float32)
    clipped, smaller = Quantizer._clipped(distances, bounds, 0, 2)
    np.testing.assert_allclose(clipped, [[0, 0.5, 2]])
    np.testing.assert_allclose(smaller, [[0.1, 0.2, 0]], atol=1e-6)


def test_codes_can_be_appended_and_removed() -> None:
    vectors = mixture(10, 64)
    centroid = vectors.mean(axis=0)
    quantizer = Quantizer("l2", 64)
    whole = quantizer.encode(vectors, centroid)
    parts = Codes.empty(64)
    for start in range(0, 10, 3):
        parts = parts.append(quantizer.encode(vectors[start : start + 3], centroid))
    kept = np.arange(10) % 2 == 0
    for one, other in ((whole, parts), (whole.keep(kept), quantizer.encode(vectors[kept], centroid))):
        np.testing.assert_array_equal(one.signs, other.signs)
        np.testing.assert_allclose(one.radii, other.radii, rtol=1e-6)
        np.testing.assert_allclose(one.inverses, other.inverses, rtol=1e-5)
