"""This project's errors as Dagster failures: the message as description, and no retry of what a retry cannot fix."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from crdbvec_pipelines.errors import CrdbvecError


@contextmanager
def as_dagster_failures() -> Iterator[None]:
    """Raise `dg.Failure` for this project's errors; any other exception is a bug and keeps its traceback."""
    try:
        yield
    except CrdbvecError as error:
        raise dg.Failure(str(error), allow_retries=error.is_retryable) from error


@contextmanager
def retrying(policy: dg.RetryPolicy, attempt: int) -> Iterator[None]:
    """Request the retry of a step after every error that a retry may fix.

    With a `retry_policy`, Dagster retries a step also if its run is canceled or its process gets SIGTERM.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, dg.Failure) and not error.allow_retries:
            raise
        raise dg.RetryRequested(policy.max_retries, policy.calculate_delay(attempt + 1)) from error
