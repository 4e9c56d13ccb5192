"""Errors of the encoding layer, one class for each way in which a caller reacts.

A `ModelError` is reported to the user, an unavailable model is called again later, and a rejected batch is tried in
smaller parts until the failed row is found. No message of this package contains the text of a row; that of a wrapper's
own error may, so a failed row is recorded with its `reason` (`encoding.reasons`), not with the message.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from crdbvec_pipelines.encoding.reasons import Reason
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.encoder import EncodedBatch


class EncodingError(CrdbvecError):
    """The model returned a result that cannot be used: a missing vector, a wrong dimension, or a NaN.

    Args:
        message: The message; by default the sentence of the reason. It is shown, but not stored.
        reason: The reason that is recorded for a failed row; a value of `Reason`.
        detail: A few words that are stored with the reason. They must not contain the input or a part of it.
    """

    remedy = "Correct the model wrapper that the message names."
    default_reason: ClassVar[Reason] = Reason.UNUSABLE_VECTOR

    def __init__(self, message: str = "", *, reason: Reason | str | None = None, detail: str = "") -> None:
        self.reason = self.default_reason if reason is None else Reason(reason)
        self.detail = detail
        super().__init__(message or self.stored_text)

    @property
    def stored_text(self) -> str:
        """The text that is recorded for a failed row; it consists of the reason and the detail."""
        return self.reason.text(self.detail)


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


class ModelBroken(EncoderUnavailable):
    """The model rejects an input that it has encoded before; no row is recorded as failed.

    Args:
        reason: The reason for which it rejects the input.
        detail: The detail of the reason.
    """

    remedy = "Look for the reason in the log of the model or of its server, then run the command again."

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(
            "The model has stopped working: it rejects an input that it has encoded before "
            f"({reason.text(detail).rstrip('.')}). No row is recorded as failed. {self.remedy}"
        )


class InputRejected(EncodingError):
    """The model rejected an input of the batch."""

    remedy = "Run `crdbvec errors list` to find the row, then correct its input."
    default_reason = Reason.REJECTED


class InputTooLong(InputRejected):
    """The model rejected the batch because an input, or the batch as a whole, is too long."""

    remedy = "Run `crdbvec errors list` to find the row, then shorten its input or reduce `batch_size`."
    default_reason = Reason.TOO_LONG


class RowsRejected(InputRejected):
    """The model rejected some inputs of the batch, and encoded the others.

    Attributes:
        failures: The error of each failed row, by its position in the batch.
        encoded: The results of the other rows, in the order of the batch; None if there are none.
    """

    remedy = "Run `crdbvec errors list` to find the rows, then correct their inputs."

    def __init__(
        self,
        message: str = "",
        failures: Mapping[int, InputRejected] | None = None,
        encoded: "EncodedBatch | None" = None,
    ) -> None:
        super().__init__(message)
        self.failures = dict(failures or {})
        self.encoded = encoded
