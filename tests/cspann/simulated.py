"""Simulated indexes, as most tests need them."""

from dataclasses import dataclass

import numpy as np

from crdbvec_pipelines.cspann.accuracy import Accuracy, measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.space import Space
from crdbvec_pipelines.cspann.tree import Tree
from tests.support.embeddings import Vectors


@dataclass(frozen=True)
class Simulated:
    """A tree of the first vectors of an array, and the others as queries."""

    tree: Tree
    queries: Vectors

    def accuracy(self, beam_size: int, k: int = 10) -> Accuracy:
        truth = true_neighbors(self.tree.settings.metric, self.queries, self.tree.vectors, k)
        return measure(self.tree, self.queries, truth, SearchOptions(k, beam_size))


def simulate(vectors: Vectors, settings: IndexSettings, rows: int) -> Simulated:
    prepared = Space(settings, vectors.shape[1]).prepare(vectors)
    build = IncrementalBuild(settings, prepared[:rows])
    build.insert(np.arange(rows))
    return Simulated(build.tree, prepared[rows:])


def midpoints(vectors: Vectors, count: int, seed: int) -> Vectors:
    """Return points between random pairs of vectors."""
    random = np.random.default_rng(seed)
    pairs = np.stack([random.choice(len(vectors), 2, replace=False) for _ in range(count)])
    return (vectors[pairs[:, 0]] + vectors[pairs[:, 1]]) * np.float32(0.5)
