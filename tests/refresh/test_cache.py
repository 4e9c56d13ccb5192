"""The cache of vectors: it is bounded, evicts the least recently used entries, and keeps no reference to a batch."""

import numpy as np

from crdbvec_pipelines.refresh.cache import CachedVector, VectorCache

# Vectors of 1,000 bytes, so that entries take a little more.
DIM = 250


def entry(value: float) -> CachedVector:
    return CachedVector(np.full(DIM, value, np.float32), truncated=False)


def test_vector_is_found_by_its_fingerprint() -> None:
    cache = VectorCache()
    cache.put("a", entry(1))
    found = cache.get("a")
    assert found is not None
    assert np.all(found.vector == 1)
    assert cache.get("b") is None


def test_least_recently_used_vector_is_evicted() -> None:
    cache = VectorCache(max_bytes=3_000)
    cache.put("a", entry(1))
    cache.put("b", entry(2))
    cache.get("a")
    cache.put("c", entry(3))
    assert [name for name in "abc" if cache.get(name) is not None] == ["a", "c"]


def test_entry_is_a_copy() -> None:
    cache = VectorCache()
    batch = np.ones((2, DIM), np.float32)
    cache.put("a", CachedVector(batch[0], truncated=True))
    batch[:] = 7
    found = cache.get("a")
    assert found is not None
    assert isinstance(found.vector, np.ndarray)
    assert np.all(found.vector == 1)
    assert found.vector.base is None
    assert found.truncated
