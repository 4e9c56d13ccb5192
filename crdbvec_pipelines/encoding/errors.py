"""What can go wrong between an input and its vector, sorted by who has to act.

The caller chooses by class: configuration is reported to the user, an unavailable encoder is tried again later, a
refused batch is halved until the row at fault stands alone. No message here or elsewhere in the layer may carry
the text of a row.
"""

from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError


class EncodingError(CrdbvecError):
    """The model answered, and the answer cannot be used (a vector is missing, has another dimension, holds a NaN)."""


class ModelError(ConfigurationError):
    """The model cannot be used as configured: unknown, incomplete, without its weights, with a key that is refused."""


class EncoderUnavailable(EncodingError):
    """The model cannot answer now, through no fault of the rows: overload, time-out or a broken connection.

    Attributes:
        retry_after: Seconds that the model asked to be left alone, or None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InputRefused(EncodingError):
    """The model refused the batch because of what one of its inputs holds; halve the batch to find the input."""


class InputTooLong(InputRefused):
    """The model refused the batch because an input, or the batch as a whole, is too large for it."""
