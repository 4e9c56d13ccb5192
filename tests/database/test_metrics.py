"""Metric, operator and operator class match, and the operator returns the distance of its metric."""

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.dialects import PostgresDialect
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.table import Table
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import METRICS, distances, random_vectors, vector_text
from tests.support.work import FakeModel


@pytest.mark.parametrize("metric", METRICS)
def test_operator_returns_the_distance_that_numpy_computes(connection: psycopg.Connection, metric: Metric) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    query, *others = random_vectors(21)
    operator = DISTANCES[metric].operator
    returned = [
        connection.execute(
            f"SELECT %s::VECTOR {operator} %s::VECTOR",
            (vector_text(other), vector_text(query)),
        ).fetchone()
        for other in others
    ]
    assert [row and row[0] for row in returned] == pytest.approx(distances(metric, np.stack(others), query), abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_operator_class_supports_the_operator(postgres: Server, metric: Metric) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        operators = connection.execute(
            "SELECT o.oprname FROM pg_opclass AS c JOIN pg_amop AS a ON a.amopfamily = c.opcfamily "
            "JOIN pg_operator AS o ON o.oid = a.amopopr JOIN pg_am AS m ON m.oid = c.opcmethod "
            "WHERE c.opcname = %s AND m.amname = 'hnsw' AND a.amoppurpose = 'o'",
            (DISTANCES[metric].operator_class,),
        ).fetchall()
    assert operators == [(DISTANCES[metric].operator,)]


@pytest.mark.parametrize(
    ("index", "model_metric", "metric"),
    [(None, "ip", "ip"), ({"prefix": []}, "ip", "ip"), ({"metric": "l2"}, "cosine", "l2")],
)
def test_metric_is_the_configured_one_otherwise_the_models(
    index: dict[str, object] | None, model_metric: Metric, metric: Metric
) -> None:
    spec = column(index=index)
    definition = ColumnDefinition(Table(spec.table, {}, (), PostgresDialect()), spec, FakeModel(metric=model_metric))
    assert definition.metric == metric
