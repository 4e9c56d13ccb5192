"""Our errors as Dagster failures: the sentence as description, and no retry where a retry cannot help."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError


@contextmanager
def as_failures() -> Iterator[None]:
    """Raises `dg.Failure` for our own errors within; anything else passes, with its traceback, as the bug it is."""
    try:
        yield
    except CrdbvecError as error:
        raise dg.Failure(str(error), allow_retries=not isinstance(error, ConfigurationError)) from error
