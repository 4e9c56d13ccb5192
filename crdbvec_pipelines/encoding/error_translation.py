"""Translation of the exceptions of model wrappers into the errors of this layer."""

from collections.abc import Iterator
from contextlib import contextmanager

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelError
from crdbvec_pipelines.errors import CrdbvecError


@contextmanager
def translate_encoding_errors(where: str) -> Iterator[None]:
    """Translate the exceptions that a wrapper raises while it encodes.

    A `CrdbvecError` or a `MemoryError` is raised unchanged. The messages contain the class of the exception but not its
    text, which may contain the text of a row.

    Args:
        where: The model and the batch, for the start of the message.

    Raises:
        ModelError: A module that the wrapper imports is not installed.
        EncoderUnavailable: An OSError: a connection, a file or a timeout.
        InputRejected: Any other exception.
    """
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except ImportError as error:
        raise ModelError(
            f"{where}: {error.name or 'a module'} cannot be imported. Install the package that contains it."
        ) from error
    except OSError as error:
        raise EncoderUnavailable(f"{where}: the model failed with {_describe(error)}.") from error
    except Exception as error:
        raise InputRejected(f"{where}: the model rejected the input with {type(error).__name__}.") from error


@contextmanager
def translate_wrapper_errors(model: str, function: str) -> Iterator[None]:
    """Translate the exceptions of functions that describe the model or load its weights into a `ModelError`."""
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"The model {model} failed in {function} with {type(error).__name__}: {error}") from error


def _describe(error: OSError) -> str:
    # strerror is the operating system's text for errno, so it never contains an input.
    return f"{type(error).__name__} ({error.strerror})" if error.errno and error.strerror else type(error).__name__
