"""The tokens of a vector column by hour: summed over processes and the last day."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.usage import UsageRecorder, delete_expired_usage, usage_of_last_day
from tests.support.tables import column, create_table
from tests.support.work import prepared

PRICED = column(price_per_million_tokens=100.0)


def test_tokens_of_several_processes_are_added(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    bound = prepared(database, PRICED)
    assert (usage_of_last_day(bound).tokens, usage_of_last_day(bound).cost) == (0, 0)
    for tokens in (10_000, 20_000):
        recorder = UsageRecorder(bound)
        recorder.add(tokens - 1)
        recorder.add(1)
        recorder.write()
        recorder.write()
    usage = usage_of_last_day(bound)
    assert usage.tokens == 30_000
    assert usage.cost == pytest.approx(3.0)
    assert connection.execute("SELECT count(*) FROM crdbvec_usage").fetchone() == (1,)


def test_only_the_last_day_is_summed_and_two_months_are_kept(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    bound = prepared(database, PRICED)
    connection.execute(
        "INSERT INTO crdbvec_usage SELECT 'passage', 'passage_vector', now() - n * interval '1 hour', 1, 0.5 "
        "FROM unnest(ARRAY[1, 23, 25, 1000, 2000]) AS hours (n)"
    )
    connection.execute("INSERT INTO crdbvec_usage VALUES ('passage', 'another', now(), 100, 100)")
    assert (usage_of_last_day(bound).tokens, usage_of_last_day(bound).cost) == (2, 1.0)
    delete_expired_usage(bound)
    assert connection.execute("SELECT count(*) FROM crdbvec_usage").fetchone() == (5,)


def test_tokens_that_cannot_be_written_fail_no_refresh_and_are_kept(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    bound = prepared(database, PRICED)
    connection.execute("ALTER TABLE crdbvec_usage RENAME TO moved")
    recorder = UsageRecorder(bound)
    recorder.add(7)
    recorder.write()
    connection.execute("ALTER TABLE moved RENAME TO crdbvec_usage")
    recorder.write()
    assert usage_of_last_day(bound).tokens == 7
