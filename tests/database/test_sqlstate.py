"""The meaning of SQLSTATEs: a table of cases for each function."""

import pytest

from crdbvec_pipelines.database import sqlstate
from crdbvec_pipelines.database.sqlstate import FailureStatus

# Codes that belong to none of the groups: authentication, privileges, syntax, unknown objects, internal errors.
OTHER_CODES = ["00000", "0A000", "28P01", "42501", "42601", "42703", "42P01", "53100", "58030"]


@pytest.mark.parametrize(
    ("code", "is_lost"),
    [
        (None, True),  # client-side errors of the connection
        ("08000", True),  # connection exception
        ("08003", True),  # connection does not exist
        ("08006", True),  # connection failure
        ("57P01", True),  # admin shutdown
        ("57P02", True),  # crash shutdown
        ("57P03", True),  # cannot connect now
        ("57P05", True),  # idle session timeout
        ("58C00", True),  # CockroachDB: connection between nodes
        ("58C01", True),
        ("08P01", False),  # protocol violation
        ("57014", False),  # query canceled
        ("57P04", False),  # database dropped
        ("40001", False),
        *((code, False) for code in OTHER_CODES),
    ],
)
def test_is_lost_connection(code: str | None, is_lost: bool) -> None:
    assert sqlstate.is_lost_connection(code) is is_lost


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("40001", True),  # serialization failure
        ("40P01", True),  # deadlock detected
        ("40003", True),  # statement completion unknown
        ("53300", True),  # too many connections
        (None, False),
        ("40000", False),  # transaction rollback
        ("40002", False),  # transaction integrity constraint violation
        ("55P03", False),
        ("08006", False),
        *((code, False) for code in OTHER_CODES),
    ],
)
def test_is_retryable(code: str | None, retryable: bool) -> None:
    assert sqlstate.is_retryable(code) is retryable


@pytest.mark.parametrize(
    ("code", "is_duplicate"),
    [
        ("42701", True),  # duplicate column
        ("42710", True),  # duplicate object
        ("42P07", True),  # duplicate table
        ("23505", True),  # unique violation in the catalog
        (None, False),
        ("23503", False),
        ("42723", False),
        *((code, False) for code in OTHER_CODES),
    ],
)
def test_is_duplicate_object(code: str | None, is_duplicate: bool) -> None:
    assert sqlstate.is_duplicate_object(code) is is_duplicate


@pytest.mark.parametrize(
    ("code", "is_concurrent"),
    [
        ("42883", True),  # undefined function
        ("42704", True),  # undefined object
        ("42723", True),  # duplicate function
        ("2BP01", True),  # dependent objects still exist
        ("XX000", True),  # tuple concurrently updated
        (None, False),
        ("XX001", False),
        ("42701", False),
        *((code, False) for code in OTHER_CODES),
    ],
)
def test_is_concurrent_change(code: str | None, is_concurrent: bool) -> None:
    assert sqlstate.is_concurrent_change(code) is is_concurrent


@pytest.mark.parametrize(
    ("code", "is_timeout"),
    [("55P03", True), (None, False), ("55006", False), ("57014", False), *((code, False) for code in OTHER_CODES)],
)
def test_is_lock_timeout(code: str | None, is_timeout: bool) -> None:
    assert sqlstate.is_lock_timeout(code) is is_timeout


@pytest.mark.parametrize(
    ("code", "is_data"),
    [
        ("22000", True),  # data exception
        ("22P02", True),  # invalid text representation
        ("22003", True),  # numeric value out of range
        (None, False),
        ("23502", False),
        ("02200", False),
        *((code, False) for code in OTHER_CODES),
    ],
)
def test_is_data_exception(code: str | None, is_data: bool) -> None:
    assert sqlstate.is_data_exception(code) is is_data


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("09000", "rejected"),  # triggered action exception
        ("21000", "rejected"),  # cardinality violation
        ("22001", "rejected"),  # string data right truncation
        ("23514", "rejected"),  # check violation
        ("27000", "rejected"),  # triggered data change violation
        ("44000", "rejected"),  # with check option violation
        ("P0001", "rejected"),  # raised by a trigger
        ("ZZ123", "rejected"),  # raised by a trigger with a code of its own
        ("72000", "rejected"),
        ("54000", "too_long"),  # program limit exceeded
        ("54001", "too_long"),  # statement too complex
        ("08P01", "too_long"),  # protocol violation: the message is too large
        ("55006", "transient"),  # object in use
        ("55P03", "transient"),  # lock not available
        ("57014", "transient"),  # query canceled
        (None, None),
        ("08006", None),
        ("40001", None),
        ("57P01", None),
        ("XX000", None),
        *((code, None) for code in OTHER_CODES),
    ],
)
def test_row_failure_status(code: str | None, status: FailureStatus | None) -> None:
    assert sqlstate.row_failure_status(code) == status
