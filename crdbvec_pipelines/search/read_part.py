"""How much of a text its vector was made from: a model reads no more of it than its window."""

from collections.abc import Sequence

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.index.text_document import DOCUMENT_CHARACTERS
from crdbvec_pipelines.encoding.encoder import Encoder

# The window of a model has more than this many characters, so shorter texts need not be counted.
_MIN_CHARACTERS = 256


class ReadPart:
    """The number of characters that a model reads, estimated from the longest text that was seen.

    Args:
        spec: The vector column. Of one whose vectors are made from whole texts, everything is read.
        encoder: The model.
    """

    def __init__(self, spec: VectorColumn, encoder: Encoder) -> None:
        self._encoder = encoder
        self._reads_all = spec.long_inputs in ("mean", "chunks")
        self._characters: int | None = None
        # Texts up to this length are known to be read whole.
        self._whole = _MIN_CHARACTERS

    def characters(self, texts: Sequence[str]) -> int | None:
        """Return how many characters of the texts the model reads; None if that is all, or not known."""
        if self._characters is None and not self._reads_all:
            longest = max(texts, key=len, default="")[:DOCUMENT_CHARACTERS]
            if len(longest) > self._whole:
                self._characters = self._count(longest)
                self._whole = len(longest)
        return self._characters

    def _count(self, text: str) -> int | None:
        counts = self._encoder.read_tokens([text])
        if counts is None:
            self._reads_all = True
            return None
        (count,) = counts
        if count.encoded is None or count.encoded >= count.total:
            return None
        return len(text) * count.encoded // count.total
