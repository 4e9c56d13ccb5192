"""Whether a faster way of computing a model has its vectors: compared with sentence-transformers in float32."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from crdbvec_pipelines.encoding.backends import Vectors

MatrixPrecision = Literal["f16", "bf16", "f32"]

SAMPLES = [
    "",
    "An entity.",
    "that which is perceived or known or inferred to have its own distinct existence (living or nonliving)",
    "  The CRÈME brûlée of São Paulo,\tnaïve façade; don't  ",
    "東京 is Japan's capital; Москва, Ελλάδα, ქართული, مرحبا",
    "0123 4.56e-7 #hashtag @user https://example.org/a?b=c <html> {} 🙂",
    "a long text that goes on " * 400,
]
"""The shortest and the longest text, and what tokenizers treat differently: case, accents, scripts, blanks, digits."""

# The smallest cosine similarity of a vector to that of sentence-transformers, and the same after the mean of all
# vectors is subtracted: those of some models are all near to each other, so that the first says little.
_MIN_COSINE: dict[MatrixPrecision, float] = {"f16": 0.9995, "bf16": 0.9995, "f32": 0.99999}
_MIN_CENTERED_COSINE: dict[MatrixPrecision, float] = {"f16": 0.99, "bf16": 0.99, "f32": 0.999}
# The largest difference of the lengths of two vectors, as a share.
_MAX_LENGTH_DIFFERENCE: dict[MatrixPrecision, float] = {"f16": 0.02, "bf16": 0.02, "f32": 0.001}


@dataclass(frozen=True, slots=True)
class VectorComparison:
    """How near vectors are to those of sentence-transformers in float32.

    Attributes:
        precision: The number format of matrix products.
        cosine: The smallest cosine similarity of a vector.
        centered_cosine: The smallest one after the mean of all vectors was subtracted.
        length_difference: The largest difference of the lengths of two vectors, as a share.
    """

    precision: MatrixPrecision
    cosine: float
    centered_cosine: float
    length_difference: float

    @property
    def is_exact(self) -> bool:
        """Whether the vectors are near enough for the precision; a NaN is not."""
        return (
            self.cosine >= _MIN_COSINE[self.precision]
            and self.centered_cosine >= _MIN_CENTERED_COSINE[self.precision]
            and self.length_difference <= _MAX_LENGTH_DIFFERENCE[self.precision]
        )


def compare_vectors(found: Vectors, expected: Vectors, precision: MatrixPrecision) -> VectorComparison:
    """Compare vectors with the expected ones in the same rows, both of shape (texts, dimension)."""
    centers = found - expected.mean(axis=0), expected - expected.mean(axis=0)
    lengths = np.linalg.norm(expected, axis=1)
    return VectorComparison(
        precision,
        _least_cosine(found, expected),
        _least_cosine(*centers),
        float((np.abs(np.linalg.norm(found, axis=1) - lengths) / lengths).max()),
    )


def _least_cosine(first: Vectors, second: Vectors) -> float:
    """Return the smallest cosine similarity of two vectors in the same row; NaN if a vector has a NaN."""
    products = (first.astype(np.float64) * second).sum(axis=1)
    return float((products / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))).min())
