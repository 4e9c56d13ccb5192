"""The operator and operator class of each metric, defined once, so that index and search always match."""

from dataclasses import dataclass

from crdbvec_pipelines.config import Metric


@dataclass(frozen=True)
class Distance:
    """The SQL of one metric, the same on both servers.

    Attributes:
        operator: The operator that returns the distance of two vectors; for every metric, smaller is nearer.
        operator_class: The operator class of an index that supports the operator.
        meaning: An explanation of the number for users.
    """

    operator: str
    operator_class: str
    meaning: str


VECTOR_TYPES = ("vector", "halfvec")
"""The types of a vector column; halfvec, with two bytes per dimension, only exists in pgvector."""


def operator_class(metric: Metric, type_name: str) -> str:
    """Return the operator class of a metric for a type of vector column."""
    return DISTANCES[metric].operator_class.replace("vector_", f"{type_name}_", 1)


DISTANCES: dict[Metric, Distance] = {
    "cosine": Distance("<=>", "vector_cosine_ops", "cosine distance: 0 same direction, 2 opposite"),
    "l2": Distance("<->", "vector_l2_ops", "Euclidean distance"),
    "ip": Distance("<#>", "vector_ip_ops", "negative inner product: smaller is nearer"),
}
