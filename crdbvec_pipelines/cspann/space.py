"""The space in which an index compares vectors: rotated, and for cosine scaled to length one."""

import numpy as np

from crdbvec_pipelines.cspann.metrics import Vectors, prepared
from crdbvec_pipelines.cspann.settings import IndexSettings

_BLOCK_FLOATS = 4_000_000


class Space:
    """The transformation of vectors and queries before they are indexed or searched.

    CockroachDB applies a sequence of random Givens rotations. A uniformly distributed orthogonal matrix has the same
    effect: the information of a vector is spread evenly over its dimensions, and no distance changes.

    Args:
        settings: The settings of the index.
        dim: The dimension of its vectors.
    """

    def __init__(self, settings: IndexSettings, dim: int) -> None:
        self.settings = settings
        self.dim = dim
        self._rotation = _orthogonal_matrix(dim, settings.seed) if settings.is_rotated else None

    def prepare(self, vectors: Vectors, out: Vectors | None = None) -> Vectors:
        """Return vectors as the index compares them.

        Args:
            vectors: The vectors, or a file of them in memory.
            out: Where to write the result, possibly in a file; by default new memory.
        """
        result = np.empty(vectors.shape, np.float32) if out is None else out
        block = max(1, _BLOCK_FLOATS // self.dim)
        for start in range(0, len(vectors), block):
            part = np.asarray(vectors[start : start + block], np.float32)
            rotated = part if self._rotation is None else part @ self._rotation
            result[start : start + block] = prepared(self.settings.metric, rotated)
        return result


def _orthogonal_matrix(dim: int, seed: int) -> Vectors:
    random = np.random.default_rng([seed, 0])
    matrix, triangle = np.linalg.qr(random.standard_normal((dim, dim)).astype(np.float32))
    return np.asarray(matrix * np.where(np.diag(triangle) < 0, -1, 1), np.float32)
