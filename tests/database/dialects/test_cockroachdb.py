"""The facts of CockroachDB by version."""

import pytest

from crdbvec_pipelines.database.dialects import CockroachDialect


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (250205, "Before 25.3, CockroachDB rejects vectors in the binary form in which they are sent."),
        (
            250300,
            "Before 25.4, CockroachDB can embed and search exactly, but has no vector index and no usable triggers.",
        ),
        (250400, None),
        (260205, None),
    ],
)
def test_what_a_version_does_not_support(version: int, sentence: str | None) -> None:
    assert CockroachDialect(version).unsupported_version == sentence


def test_quality_of_service_is_that_of_admission_control() -> None:
    dialect = CockroachDialect()
    assert dialect.quality_of_service_settings("background") == {"default_transaction_quality_of_service": "background"}
    assert dialect.quality_of_service_settings("regular") == {}
