"""The simulator against a slow implementation of the same description that shares no code with it."""

import numpy as np

from crdbvec_pipelines.cspann.accuracy import true_neighbors
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.space import Space
from tests.cspann.literal import LiteralIndex
from tests.cspann.simulated import Simulated, midpoints, simulate
from tests.support.embeddings import Glosses

ROWS, QUERIES = 600, 150
BEAM_SIZES = (2, 8, 32)
SEEDS = (0, 1, 2)


def test_recall_curve_on_glosses(glosses: Glosses) -> None:
    """Different random numbers give different trees, so each curve is the mean of several ones."""
    rows = glosses.glosses[:ROWS]
    queries = midpoints(glosses.glosses[ROWS:], QUERIES, seed=3)
    vectors = np.concatenate([rows, queries])
    fast = np.mean([_curve(simulate(vectors, _settings(seed), ROWS)) for seed in SEEDS], axis=0)
    slow = np.mean([_literal_curve(vectors, seed) for seed in SEEDS], axis=0)
    assert np.abs(fast - slow)[:, 0].max() < 0.02, f"recall {fast[:, 0]} and {slow[:, 0]}"
    # The number of partitions on level 2, which a beam of 32 reads all, varies by one.
    np.testing.assert_allclose(fast[:, 1], slow[:, 1], atol=1.5)


def _settings(seed: int) -> IndexSettings:
    return IndexSettings("cosine", 4, 16, 4, seed)


def _curve(simulated: Simulated) -> list[tuple[float, float]]:
    """Return recall and partitions per search of each beam size."""
    measured = [simulated.accuracy(beam_size) for beam_size in BEAM_SIZES]
    return [(each.recall, each.partitions) for each in measured]


def _literal_curve(vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]], seed: int) -> list[tuple[float, float]]:
    prepared = Space(_settings(seed), vectors.shape[1]).prepare(vectors)
    truth = true_neighbors("cosine", prepared[ROWS:], prepared[:ROWS], 10)
    precise = prepared.astype(np.float64)
    index = LiteralIndex(vectors.shape[1], 4, 16, 4, seed)
    for key in range(ROWS):
        index.insert(key, precise[key])
    curve = []
    for beam_size in BEAM_SIZES:
        found = [index.search(query, 10, beam_size) for query in precise[ROWS:]]
        recalls = [np.isin(true, keys).mean() for true, (keys, _) in zip(truth, found, strict=True)]
        curve.append((float(np.mean(recalls)), float(np.mean([read for _, read in found]))))
    return curve
