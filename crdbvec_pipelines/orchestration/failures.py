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
