"""The one place that ties a metric to operator and operator class, so that index and search cannot disagree."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.encoding.contract import Metric


@dataclass(frozen=True)
class Distance:
    """How one metric is asked for in SQL; the same on both servers.

    Attributes:
        operator: gives the distance of two vectors, smaller being nearer for every metric.
        operator_class: what an index that serves the operator is made with.
        meaning: what the number is, for people.
    """

    operator: sql.SQL
    operator_class: str
    meaning: str


DISTANCES: dict[Metric, Distance] = {
    "cosine": Distance(sql.SQL("<=>"), "vector_cosine_ops", "cosine distance: 0 same direction, 2 opposite"),
    "l2": Distance(sql.SQL("<->"), "vector_l2_ops", "Euclidean distance"),
    "ip": Distance(sql.SQL("<#>"), "vector_ip_ops", "negative inner product: the smaller, the nearer"),
}


def metric_of(spec: VectorColumn, model_metric: Metric) -> Metric:
    """The metric of a vector column: what its index says, else the model's."""
    return (spec.index.metric if spec.index else None) or model_metric
