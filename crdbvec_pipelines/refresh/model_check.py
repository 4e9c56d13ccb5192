"""Whether failures are those of rows or of the model, which may stop working in the middle of a refresh.

When rows fail one after the other, the model is given an input again that it has encoded before. If it rejects that
input too, the reason is the model, and none of the rows is recorded as failed.
"""

import threading
from collections.abc import Callable, Sequence

from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, ModelBroken
from crdbvec_pipelines.refresh.memory import value_bytes

Pair = tuple[object, object]
Encode = Callable[[Sequence[Pair]], EncodedBatch]

# After this many failures without a success, the model is checked before the batch ends, and then each time when the
# number has doubled. So few rows are tried with a model that has stopped working, and the checks of a table with many
# failed rows in succession cost little.
_FIRST_CHECK_ROWS = 8


class KnownInput:
    """An input that the model has encoded; the refreshes of one column share it. Thread-safe.

    The smallest input is kept, because it costs the least memory and time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pair: Pair | None = None
        self._bytes = 0

    def remember(self, pairs: Sequence[Pair]) -> None:
        """Keep one of the (key, input) pairs, which the model has encoded, if it is smaller than the kept one."""
        with self._lock:
            for pair in pairs:
                size = value_bytes(pair[1])
                if self._pair is None or size < self._bytes:
                    self._pair, self._bytes = pair, size

    def check(self, encode: Encode) -> None:
        """Encode the kept input again; without one, nothing is known of the model and nothing is checked.

        Raises:
            ModelBroken: The model rejects the input.
            EncoderUnavailable: The model is unavailable.
        """
        with self._lock:
            pair = self._pair
        if pair is None:
            return
        try:
            encode([pair])
        except EncoderUnavailable:
            raise
        except EncodingError as error:
            raise ModelBroken(error.reason, error.detail) from None


class FailureRun:
    """The rows of one batch that have failed since the last success.

    Args:
        known: The input with which the model is checked.
        encode: Encodes (key, input) pairs.
    """

    def __init__(self, known: KnownInput, encode: Encode) -> None:
        self._known = known
        self._encode = encode
        self._rows = 0
        self._next_check = _FIRST_CHECK_ROWS

    def succeeded(self, pairs: Sequence[Pair]) -> None:
        """Note (key, input) pairs that the model has encoded."""
        self._rows, self._next_check = 0, _FIRST_CHECK_ROWS
        self._known.remember(pairs)

    def failed(self, rows: int) -> None:
        """Note failed rows, and check the model after many of them; see `KnownInput.check`."""
        self._rows += rows
        if self._rows >= self._next_check:
            self._known.check(self._encode)
            self._next_check = 2 * self._rows

    def finish(self) -> None:
        """Check the model if the last rows of the batch have failed; see `KnownInput.check`."""
        if self._rows:
            self._known.check(self._encode)
