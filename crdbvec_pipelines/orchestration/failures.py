"""Errors as Dagster failures: the message as description, and no retry of what a retry cannot fix.

Dagster stores the texts of an exception and of its causes in the event log. The message of an error of this project
contains no text of a row. That of any other exception can, such as one of a model wrapper or of a library, so only its
class and its traceback, which has no values, are stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from crdbvec_pipelines.errors import CrdbvecError


@contextmanager
def as_dagster_failures() -> Iterator[None]:
    """Raise `dg.Failure` for every error; it has the traceback of the error, but not the error as its cause."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested, dg.DagsterError):
        raise
    except CrdbvecError as error:
        failure = dg.Failure(str(error), allow_retries=error.is_retryable)
        raise failure.with_traceback(error.__traceback__) from None
    except MemoryError as error:
        failure = dg.Failure(
            "The process ran out of memory; no work is lost. Lower batch_size, workers or memory_budget_mb."
        )
        raise failure.with_traceback(error.__traceback__) from None
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit, dg.DagsterExecutionInterruptedError)):
            # The run is canceled, or its process ends.
            raise
        failure = dg.Failure(
            f"An unexpected {type(error).__name__} ended the work. Its text is not shown, because it can quote a row; "
            "see the traceback."
        )
        raise failure.with_traceback(error.__traceback__) from None


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
