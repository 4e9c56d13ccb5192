"""Translation of the exceptions of model wrappers into the errors of this layer."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelError
from crdbvec_pipelines.encoding.reasons import Reason
from crdbvec_pipelines.errors import CrdbvecError


@contextmanager
def translate_encoding_errors(where: str) -> Iterator[None]:
    """Translate the exceptions that a wrapper raises while it encodes.

    A `CrdbvecError` or a `MemoryError` is raised unchanged. The messages contain the class of the exception but not its
    text, which may contain the text of a row. For the same reason, an error that is raised here has no cause.

    Args:
        where: The model and the batch, for the start of the message.

    Raises:
        ModelError: A module that the wrapper imports is not installed, or the wrapper tries to end the process, as with
            `sys.exit`.
        EncoderUnavailable: An OSError: a connection, a file or a timeout.
        InputRejected: Any other exception, and those of Pillow.
    """
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except SystemExit:
        raise _ends_process(where, "the call of sys.exit") from None
    except ImportError as error:
        raise ModelError(
            f"{where}: {error.name or 'a module'} cannot be imported. Install the package that contains it."
        ) from None
    except BaseException as error:
        if _is_of_signal_handler(error):
            raise
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise _ends_process(where, f"the use of {type(error).__name__}") from None
        # Libraries in Rust raise a `PanicException`, which is not an `Exception`.
        reason = _reason(error)
        if isinstance(error, OSError) and reason is Reason.REJECTED:
            raise EncoderUnavailable(f"{where}: the model failed with {_describe(error)}.") from None
        name = type(error).__name__
        raise InputRejected(f"{where}: the model rejected the input with {name}.", reason=reason, detail=name) from None


@contextmanager
def translate_wrapper_errors(model: str, function: str, *, gets_inputs: bool = False) -> Iterator[None]:
    """Translate the exceptions of functions that describe the model or load its weights into a `ModelError`.

    Args:
        model: The name of the model.
        function: The function, for the message.
        gets_inputs: Whether the function gets inputs, so that the text of the exception can contain the text of a row.
    """
    try:
        yield
    except (CrdbvecError, MemoryError):
        raise
    except SystemExit:
        raise _ends_process(f"The model {model}", "the call of sys.exit") from None
    except BaseException as error:
        if _is_of_signal_handler(error):
            raise
        shown = type(error).__name__ if gets_inputs else f"{type(error).__name__}: {error}"
        raise ModelError(f"The model {model} failed in {function} with {shown}") from None


def _ends_process(where: str, what: str) -> ModelError:
    """Return the error of a wrapper that ends the process, with which a command would end as if it had succeeded."""
    return ModelError(f"{where}: the wrapper tried to end the process. Remove {what} from it.")


def _is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised an exception, which happens in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        # A wrapper has raised it in a worker process, which ignores SIGINT. The command line raises its own class.
        return type(error) is not KeyboardInterrupt or signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    # Dagster's own, which this package does not import.
    return type(error).__module__.startswith("dagster.")


def _describe(error: OSError) -> str:
    # strerror is the operating system's text for errno, so it never contains an input.
    return f"{type(error).__name__} ({error.strerror})" if error.errno and error.strerror else type(error).__name__


def _reason(error: BaseException) -> Reason:
    """Return the reason that the class of an exception states; `REJECTED` if it states none.

    Pillow raises OSError for a picture that it cannot decode. Without an errno, such an error does not come from the
    operating system, and the model is not unavailable.
    """
    if isinstance(error, UnicodeError):
        return Reason.INVALID_TEXT
    if type(error).__name__ == "DecompressionBombError" and _is_of_pillow(type(error).__module__):
        return Reason.TOO_MANY_PIXELS
    if type(error).__name__ == "UnidentifiedImageError" and _is_of_pillow(type(error).__module__):
        return Reason.UNSUPPORTED_FORMAT
    if isinstance(error, OSError) and error.errno is None and _is_of_pillow(_raising_module(error)):
        return Reason.DAMAGED
    return Reason.REJECTED


def _is_of_pillow(module: str) -> bool:
    return module.partition(".")[0] == "PIL"


def _raising_module(error: BaseException) -> str:
    """Return the name of the module that raised an exception."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__", ""))
