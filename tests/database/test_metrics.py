"""Metric, operator, operator class: one belongs to the other, and each number is what it is said to be."""

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.metrics import DISTANCES, metric_of
from crdbvec_pipelines.encoding.contract import Metric
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import METRICS, distances, random_vectors, vector_text


@pytest.mark.parametrize("metric", METRICS)
def test_the_servers_operator_gives_the_number_that_numpy_gives(connection: psycopg.Connection, metric: Metric) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    query, *others = random_vectors(21)
    operator = DISTANCES[metric].operator.as_string()
    given = [
        connection.execute(
            f"SELECT %s::VECTOR {operator} %s::VECTOR",
            (vector_text(other), vector_text(query)),
        ).fetchone()
        for other in others
    ]
    assert [row and row[0] for row in given] == pytest.approx(distances(metric, np.stack(others), query), abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_the_operator_class_serves_the_operator(postgres: Server, metric: Metric) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        served = connection.execute(
            "SELECT o.oprname FROM pg_opclass AS c JOIN pg_amop AS a ON a.amopfamily = c.opcfamily "
            "JOIN pg_operator AS o ON o.oid = a.amopopr JOIN pg_am AS m ON m.oid = c.opcmethod "
            "WHERE c.opcname = %s AND m.amname = 'hnsw' AND a.amoppurpose = 'o'",
            (DISTANCES[metric].operator_class,),
        ).fetchall()
    assert served == [(DISTANCES[metric].operator.as_string(),)]


def test_the_index_entry_decides_the_metric_and_else_the_model() -> None:
    assert metric_of(column(), "ip") == "ip"
    assert metric_of(column(index={"prefix": []}), "ip") == "ip"
    assert metric_of(column(index={"metric": "l2"}), "cosine") == "l2"
