"""Errors of the encoding layer, one class for each way in which a caller reacts.

A `ModelError` is reported to the user, an unavailable model is called again later, and a rejected batch is bisected
until the failed row is found. No message in this layer contains the text of a row.
"""

from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError


class EncodingError(CrdbvecError):
    """The model returned a result that cannot be used: a missing vector, a wrong dimension, or a NaN."""

    remedy = "Correct the model wrapper that the message names."


class ModelError(ConfigurationError):
    """The model cannot be used as configured: unknown, incomplete, without weights, or with a rejected API key."""

    remedy = "Correct the setting, the wrapper or the environment variable that the message names."


class EncoderUnavailable(EncodingError):
    """The model is temporarily unavailable: overload, timeout or a failed connection.

    Attributes:
        retry_after: Seconds to wait before the next attempt, as the model requested; None if it did not say.
    """

    remedy = "Check that the embeddings server is running and can be reached, then run the command again."

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InputRejected(EncodingError):
    """The model rejected an input of the batch."""

    remedy = "Run `crdbvec errors list` to find the row, then correct its input."


class InputTooLong(InputRejected):
    """The model rejected the batch because an input, or the batch as a whole, is too long."""

    remedy = "Run `crdbvec errors list` to find the row, then shorten its input or reduce `batch_size`."
