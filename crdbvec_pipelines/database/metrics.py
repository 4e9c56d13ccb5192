"""The one place that ties a model's metric to the database's operator, so that index and query cannot disagree."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.encoding.contract import Metric


@dataclass(frozen=True)
class Distance:
    """How one metric is asked for in SQL; the same on both servers."""

    operator: sql.SQL


DISTANCES: dict[Metric, Distance] = {
    "cosine": Distance(sql.SQL("<=>")),
    "l2": Distance(sql.SQL("<->")),
    # The operator is the negative inner product, so that smaller is nearer for every metric.
    "ip": Distance(sql.SQL("<#>")),
}
