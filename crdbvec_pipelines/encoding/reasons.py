"""The reasons for which a model rejects the input of a row: a fixed vocabulary that is safe to store.

A failed row is recorded with one of these reasons, never with a message of a model wrapper or of a library, because
such a message can quote the input.
"""

from enum import StrEnum

_MAX_DETAIL_CHARACTERS = 100


class Reason(StrEnum):
    """Why a model rejects the input of a row. The values are stored with failed rows, so none is renamed."""

    DAMAGED = "damaged"
    EMPTY = "empty"
    INVALID_TEXT = "invalid_text"
    NOT_ALLOWED = "not_allowed"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNREACHABLE = "unreachable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNUSABLE_VECTOR = "unusable_vector"
    WRONG_TYPE = "wrong_type"

    @property
    def sentence(self) -> str:
        """The sentence that is shown for the reason."""
        return _SENTENCES[self]

    def text(self, detail: str = "") -> str:
        """Return the text that is stored for a failed row: the reason, its sentence and, in parentheses, a detail."""
        shown = "".join(character if character.isprintable() else " " for character in detail)
        shown = shown.strip()[:_MAX_DETAIL_CHARACTERS]
        return f"{self.value}: {self.sentence}" if not shown else f"{self.value}: {self.sentence[:-1]} ({shown})."


_SENTENCES = {
    Reason.DAMAGED: "The input is damaged or incomplete.",
    Reason.EMPTY: "The input is empty.",
    Reason.INVALID_TEXT: "The bytes of the input are not text in the encoding that the model reads.",
    Reason.NOT_ALLOWED: "The input names a file or an address that the configuration does not allow.",
    Reason.NOT_FOUND: "The input names a file or an address that does not exist.",
    Reason.REJECTED: "The model rejected the input.",
    Reason.TOO_LARGE: "The picture has too many bytes.",
    Reason.TOO_LONG: "The input is too long for the model.",
    Reason.TOO_MANY_PIXELS: "The picture has too many pixels.",
    Reason.UNREACHABLE: "The host did not send the picture.",
    Reason.UNSUPPORTED_FORMAT: "The model does not read the format of the input.",
    Reason.UNUSABLE_VECTOR: "The model returned no usable vector for the input.",
    Reason.WRONG_TYPE: "The model does not encode inputs of this type.",
}


def reason_in(text: str) -> Reason | None:
    """Return the reason that a stored text starts with; None for a failure of the database or of an earlier release."""
    value, separator, _ = text.partition(":")
    return Reason(value) if separator and value in set(Reason) else None
