"""Metrics agree with what was done: those of a follower, scraped by HTTP, and those of runs, from their textfile."""

import threading
import urllib.request

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.telemetry.accumulation import accumulated, read_samples
from crdbvec_pipelines.telemetry.exporter import Exporter
from tests.support.models import registry
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.waiting import wait_until
from tests.support.work import prepare


def samples(text: str) -> dict[str, float]:
    """Return the value of each sample, by its name; each has one vector column."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        return samples(reply.read().decode())


def test_a_scrape_agrees_with_the_report_of_the_follower(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(25)])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ NOT NULL DEFAULT now() - interval '1 hour'")
    spec = column(model="stub_hash", updated_at="updated", target_lag="5m", price_per_million_tokens=2.0)
    followed = FollowedColumn(prepare(database, spec), registry().load(spec.model))
    with Exporter([followed], "127.0.0.1", 0, interval_seconds=0.05) as exporter:
        wait_until(lambda: "crdbvec_oldest_pending_seconds" in scrape(exporter.port))
        before = scrape(exporter.port)
        assert before["crdbvec_rows_embedded_total"] == 0
        assert before["crdbvec_rows_pending"] == 25
        assert before["crdbvec_oldest_pending_seconds"] >= 3_600
        assert before["crdbvec_target_lag_seconds"] == 300
        follower = Follower(
            [followed],
            stop=threading.Event(),
            max_idle=0.0,
            on_round=lambda each, done: exporter.metrics.add_report(each.spec, done.report),
        )
        report = follower.run()
        wait_until(lambda: scrape(exporter.port)["crdbvec_oldest_pending_seconds"] == 0)
        after = scrape(exporter.port)
    assert report.rows_embedded == 25
    assert after["crdbvec_rows_embedded_total"] == report.rows_embedded
    assert after["crdbvec_rows_failed_total"] == after["crdbvec_rows_failed_recorded"] == report.rows_failed == 0
    assert after["crdbvec_tokens_total"] == report.tokens_encoded
    assert after["crdbvec_statement_retries_total"] == report.retries
    assert after["crdbvec_encode_seconds_count"] == after["crdbvec_write_seconds_count"] == report.batches
    assert after["crdbvec_input_bytes_total"] == sum(len(f"text {number}") for number in range(25))
    assert after["crdbvec_oldest_pending_seconds"] == 0
    assert after["crdbvec_last_round_timestamp_seconds"] > 0
    assert after["crdbvec_suspended"] == 0


def test_a_port_that_is_in_use_is_a_usage_error() -> None:
    with (
        Exporter([], "127.0.0.1", 0) as first,
        pytest.raises(ConfigurationError, match=r"Choose another --metrics-port"),
    ):
        Exporter([], "127.0.0.1", first.port)


def test_counters_of_earlier_runs_are_added_and_gauges_are_replaced() -> None:
    text = (
        '# HELP a_total A.\n# TYPE a_total counter\na_total{{table="t\\"x"}} {}\n'
        "# HELP b B.\n# TYPE b gauge\nb {}\n"
        '# HELP c C.\n# TYPE c histogram\nc_bucket{{le="1.0"}} {}\nc_bucket{{le="+Inf"}} {}\nc_sum {}\nc_count {}\n'
    )
    found = accumulated(read_samples(text.format(2, 7, 1, 3, 4.5, 3)), text.format(3, 8, 2, 2, 1.0, 2))
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(found)
        for sample in family.samples
    }
    assert values == {
        ("a_total", 't"x'): 5,
        ("b",): 8,
        ("c_bucket", "1.0"): 3,
        ("c_bucket", "+Inf"): 5,
        ("c_sum",): 5.5,
        ("c_count",): 5,
    }
    # What this run does not have is kept.
    assert samples(accumulated({("b", ()): 7.0}, "# HELP b B.\n# TYPE b gauge\n")) == {"b": 7}
