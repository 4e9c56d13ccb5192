"""Cron expressions: what Dagster accepts is accepted, and the rest is rejected when the configuration is loaded."""

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.config.cron import check_cron
from crdbvec_pipelines.errors import ConfigurationError

VALID = (
    "0 3 * * *",
    "  */15   0-6,22-23  1,15 * * ",
    "5/10 */2 1-7 jan-mar,DEC mon-fri/2",
    "0 22-4 * * fri-mon",
    "59 23 31 12 7",
    "0 0 l * *",
    "0 0 ? * 5#2",
    "0 0 * * l5,sun#1",
    "0 0 * 2 ?",
    "0 0 29 2 *",
    "0 0 30 2,3 *",
    "@daily",
    "@Weekly",
)
INVALID = (
    "",
    "every night",
    "* * *",
    "0 3 * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "* * * * 1#6",
    "-1 * * * *",
    "1,,2 * * * *",
    "1- * * * *",
    "*-5 * * * *",
    "*/0 * * * *",
    "1-5/0 * * * *",
    "*/x * * * *",
    "mon * * * *",
    "? * * * *",
    "* * * * funday",
    "@reboot",
    "٣ * * * *",
)


def is_accepted(expression: str) -> bool:
    try:
        return check_cron(expression) == expression
    except ValueError:
        return False


@pytest.mark.parametrize("expression", VALID)
def test_valid_expression_is_accepted_here_and_by_dagster(expression: str) -> None:
    assert check_cron(expression) == expression
    assert is_valid_cron_schedule(expression)


@pytest.mark.parametrize("expression", INVALID)
def test_invalid_expression_is_one_sentence_on_the_command_line_too(expression: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        vector_column(table="t", input="i", output="v", model="m", schedule=expression)
    assert str(caught.value) == (
        f"the command line: schedule: {expression!r} is not a cron expression; write one such as 0 3 * * *."
    )


def test_expression_that_is_never_due_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^'0 0 30 feb \*' is never due, because no such day exists; write one"):
        check_cron("0 0 30 feb *")
    with pytest.raises(ValueError, match="is never due"):
        check_cron("0 0 31 apr,2,6-6 *")
    assert is_accepted("0 0 30 2 mon")


NUMBERS = st.integers(0, 62).map(str)
ELEMENTS = st.one_of(
    st.just("*"),
    NUMBERS,
    st.builds("{}-{}".format, NUMBERS, NUMBERS),
    st.builds("{}/{}".format, st.one_of(st.just("*"), NUMBERS), st.integers(1, 70)),
    st.builds("{}-{}/{}".format, NUMBERS, NUMBERS, st.integers(1, 70)),
    st.sampled_from(["jan", "feb", "sat", "sun", "l", "?", "l3", "2#1", "mon-wed", ""]),
)
FIELDS = st.lists(ELEMENTS, min_size=1, max_size=2).map(",".join)


@given(st.lists(FIELDS, min_size=5, max_size=5).map(" ".join))
def test_what_is_accepted_here_is_accepted_by_dagster(expression: str) -> None:
    # Dagster rejects the mix of weekdays with and without a number when the definitions are built.
    if is_accepted(expression) and not ({"#", "l"} & set(expression)):
        assert is_valid_cron_schedule(expression)
