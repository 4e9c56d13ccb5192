"""Figures from CockroachDB's own tests, as far as they do not depend on their data.

Those tests build an index of 1,000 vectors with partitions of 4 to 16 entries and a build beam of 4.
"""

from dataclasses import dataclass

import pytest

from crdbvec_pipelines.cspann.accuracy import Accuracy
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from tests.cspann.simulated import Simulated, simulate
from tests.support.embeddings import mixture

PARTITIONS_PER_SEARCH = {1: 3, 2: 4, 4: 7, 8: 13, 16: 25, 32: 42}
ROWS, DIM = 1_000, 512
# Metric of a data set, and the published number of metadata records per 1,000 rows; two of the sets have 950.
DATA: dict[str, tuple[Metric, float]] = {
    "images-512d": ("l2", 209),
    "dbpedia-1536d": ("cosine", 183 / 0.95),
    "laion-768d": ("ip", 189 / 0.95),
}


@dataclass(frozen=True)
class Published:
    """A simulated index, and the published number of metadata records of the index that it is compared with."""

    simulated: Simulated
    records: float

    def accuracy(self, beam_size: int) -> Accuracy:
        return self.simulated.accuracy(beam_size)


@pytest.fixture(scope="module", params=DATA)
def published(request: pytest.FixtureRequest) -> Published:
    metric, records = DATA[request.param]
    # Generated vectors have no preferred directions, so that a rotation changes nothing but the duration.
    settings = IndexSettings(metric, 4, 16, 4, is_rotated=False)
    return Published(simulate(mixture(ROWS + 64, DIM), settings, ROWS), records)


def test_partitions_per_search(published: Published) -> None:
    read = {beam_size: published.accuracy(beam_size).partitions for beam_size in PARTITIONS_PER_SEARCH}
    assert read == pytest.approx(PARTITIONS_PER_SEARCH, abs=1)


def test_live_and_dead_partitions(published: Published) -> None:
    tree = published.simulated.tree
    assert tree.levels == 3
    # The metadata of the dead partitions is among the records: 105 of the 209 partitions of the first set are live.
    assert len(tree.partitions) + tree.dead_partitions == pytest.approx(published.records, rel=0.1)
    assert len(tree.partitions) == pytest.approx(published.records / 2, rel=0.1)
    assert len(tree.on_level(2)) == pytest.approx(9, abs=2)


def test_entries_per_search(published: Published) -> None:
    """Published for beams of 2 to 32: 22, 43, 83, 165, 328; the leaves of generated vectors are up to 20% fuller."""
    for beam_size, entries in {2: 22, 4: 43, 8: 83, 16: 165, 32: 328}.items():
        assert published.accuracy(beam_size).leaf_entries == pytest.approx(entries, rel=0.25)


def test_recall_rises_over_the_published_range(published: Published) -> None:
    """Published for real vectors: 20 to 60% with a beam of 4, 87 to 96% with a beam of 32 for three of four sets."""
    assert 0.2 <= published.accuracy(4).recall <= 0.75
    assert 0.75 <= published.accuracy(32).recall <= 0.99


def test_beam_that_reads_every_leaf_finds_almost_all(published: Published) -> None:
    accuracy = published.accuracy(256)
    assert accuracy.leaf_entries == ROWS
    assert accuracy.recall > 0.97
