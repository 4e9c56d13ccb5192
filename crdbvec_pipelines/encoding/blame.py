"""Whose fault an exception from a wrapper is: the sorting of foreign exceptions into the layer's own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRefused, ModelError
from crdbvec_pipelines.errors import CrdbvecError


@contextmanager
def rows_at_fault(where: str) -> Iterator[None]:
    """Turn what a wrapper raises while it encodes into an error that says whether the rows are to blame.

    The messages name the exception's class and never its text, which may hold a row's.

    Args:
        where: The model and the batch, to begin the message with.

    Raises:
        ModelError: Something that the wrapper imports is not installed.
        EncoderUnavailable: The operating system failed it: a connection, a file, a time-out.
        InputRefused: Anything else. MemoryError passes as it is, since no row is to blame for it.
    """
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except ImportError as error:
        raise ModelError(
            f"{where}: {error.name or 'a module'} cannot be imported. Install what the model needs."
        ) from error
    except OSError as error:
        raise EncoderUnavailable(f"{where}: the model failed with {_describe(error)}.") from error
    except Exception as error:
        raise InputRefused(f"{where}: the model refused the input with {type(error).__name__}.") from error


@contextmanager
def wrapper_at_fault(model: str, function: str) -> Iterator[None]:
    """Turn what a wrapper raises while it is asked what it is, or loads its weights, into a `ModelError`."""
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"The model {model} failed in {function}: {type(error).__name__}: {error}") from error


def _describe(error: OSError) -> str:
    # strerror is the system's own text for errno, so it never quotes an input.
    return f"{type(error).__name__} ({error.strerror})" if error.errno and error.strerror else type(error).__name__
