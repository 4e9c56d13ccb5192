"""The size of an existing index against its prediction: the prediction, and what PostgreSQL has."""

import psycopg
import pytest

from crdbvec_pipelines.cspann.forest import PrefixSizes
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import RecordBytes, expected_shape
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition
from crdbvec_pipelines.search.index_sample import mean_key_bytes
from crdbvec_pipelines.search.index_size_check import SizeCheck, check_size, expected_size
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import bound, create, entries, random_vectors, vector_index

COLUMN = {"index": {"metric": "cosine"}}


def test_index_of_postgresql_has_no_records(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create(connection, entries([*random_vectors(20)]))
        with Database(url) as database:
            index = vector_index(database)
            index.build()
            assert check_size(bound(database, column(**COLUMN)), index, index.existing()[index.name]) is None


def test_prediction_uses_the_parameters_of_the_index(database: Database, connection: psycopg.Connection) -> None:
    create(connection, entries([*random_vectors(3)]))
    vectors = bound(database, column(**COLUMN))
    definition = IndexDefinition("vector_cosine_ops", parameters={"min_partition_size": 8, "max_partition_size": 64})
    keys = mean_key_bytes(vectors, (), [[0], [1], [500]])
    assert keys.prefix == 0
    assert keys.primary_key == pytest.approx(5 / 3)
    sizes = PrefixSizes.of([(10, 3), (5_000, 2)])
    live, records = expected_size(vectors, definition, sizes, keys)
    shapes = [expected_shape(IndexSettings("cosine", 8, 64), rows) for rows in (10, 5_000)]
    of_records = RecordBytes.of("cosine", 8, keys)
    assert live == pytest.approx(3 * shapes[0].live_bytes(of_records) + 2 * shapes[1].live_bytes(of_records))
    assert records == pytest.approx(3 * 11 + 2 * shapes[1].records)


def test_difference_is_a_share_of_the_prediction() -> None:
    assert SizeCheck(110, 100.0, 10, 10.0).difference == pytest.approx(0.1)
    assert SizeCheck(0, 0.0, 0, 0.0).difference == 0
