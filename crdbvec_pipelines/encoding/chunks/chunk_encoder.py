"""An encoder that divides each input into chunks, and encodes the chunks of many rows together."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from crdbvec_pipelines.chunk_set import ChunkSet
from crdbvec_pipelines.config import ChunksSpec
from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.chunks.splitting import ChunkSize, Span, approximate_tokens, divide
from crdbvec_pipelines.encoding.contract import ModelModule
from crdbvec_pipelines.encoding.digest import text_digest
from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.error_translation import translate_wrapper_errors
from crdbvec_pipelines.encoding.errors import InputRejected, ModelError, RowsRejected

# The chunks that are encoded together: as many as make an engine that sorts by length fast (docs/benchmarks.md), and
# few enough that the vectors of a large batch are not all in memory twice.
_CHUNKS_AT_ONCE = 1_024
# The version of the way in which texts are divided: another one makes every row pending.
_VERSION = 1


class ChunkEncoder(Encoder):
    """The encoder of an entry with `long_inputs: chunks`: each input becomes a `ChunkSet`.

    Args:
        name: The name of the model.
        module: The wrapper of the model.
        chunks: How inputs are divided.
        threads: As for `Encoder`.
    """

    def __init__(self, name: str, module: ModelModule, chunks: ChunksSpec, threads: int | None = None) -> None:
        super().__init__(name, module, threads)
        self._chunks = chunks
        self._size = ChunkSize(chunks.size, chunks.overlap)
        self._fits_window = False

    @cached_property
    def model_id(self) -> str:
        """The id of the model and of what divides the inputs, so that another division makes rows pending."""
        chunks = self._chunks
        prefix = "" if chunks.prefix is None else f"-{text_digest(chunks.prefix)[:8]}"
        identity = self._call_optional("embedding_id", self.name)
        return f"{identity}-chunks{_VERSION}-{chunks.size}-{chunks.overlap}-{chunks.splitter}{prefix}"

    def check_settings(self) -> None:
        """Check that a chunk fits into the model's window; see `Encoder.check_settings`."""
        self._check_window()

    def divide(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return start and end of the chunks of each text.

        Raises:
            ModelError: A chunk would be longer than the model's window, or the model cannot be loaded.
        """
        self._check_window()
        tokens = self._tokens(texts)
        return [divide(text, each, self._size, self._chunks.splitter) for text, each in zip(texts, tokens, strict=True)]

    def encode(
        self, batch: Sequence[tuple[object, object]], batch_index: int = 0, verbose: bool = False
    ) -> EncodedBatch:
        """Encode inputs as `Encoder.encode`; the result has `chunks` in place of vectors.

        If the model rejects a chunk, it rejects the row.
        """
        inputs = [split_prefix(self._text(value), self._chunks) for _, value in batch]
        divided = self.divide([text for _, text in inputs])
        pieces = [
            prefix + text[start:end]
            for (prefix, text), spans in zip(inputs, divided, strict=True)
            for start, end in spans
        ]
        owners = np.repeat(np.arange(len(batch)), [len(spans) for spans in divided])
        vectors = np.zeros((len(pieces), self.dim), np.float32)
        truncated = np.zeros(len(batch), np.bool_)
        shares = np.zeros(len(pieces), np.float32)
        has_shares, tokens = True, 0
        failures: dict[int, InputRejected] = {}
        for begin in range(0, len(pieces), _CHUNKS_AT_ONCE):
            part = list(enumerate(pieces[begin : begin + _CHUNKS_AT_ONCE], start=begin))
            encoded, rejected = self._encode_part(part, batch_index, verbose)
            for position, failure in rejected.items():
                failures.setdefault(int(owners[begin + position]), failure)
            if encoded is None:
                continue
            kept = [position for position, _ in part if position - begin not in rejected]
            vectors[kept] = encoded.vectors
            truncated[owners[kept]] |= encoded.truncated
            tokens += encoded.tokens
            if encoded.unknown_shares is None:
                has_shares = False
            else:
                shares[kept] = encoded.unknown_shares
        counts = np.array([len(spans) for spans in divided])
        ends = np.cumsum(counts)
        result = EncodedBatch(
            np.empty((len(batch), 0), np.float32),
            truncated,
            (np.bincount(owners, shares, len(batch)) / np.maximum(counts, 1)).astype(np.float32)
            if has_shares
            else None,
            tokens,
            tuple(
                ChunkSet(np.array(spans, np.int64), vectors[end - count : end], self._stored_texts(text, spans))
                for (_, text), spans, end, count in zip(inputs, divided, ends.tolist(), counts.tolist(), strict=True)
            ),
        )
        if not failures:
            return result
        raise RowsRejected(
            f"The model {self.name}, batch {batch_index} of {len(batch)} rows: the model rejected chunks of "
            f"{len(failures)} rows, the first at position {min(failures)}: {failures[min(failures)].stored_text}",
            failures,
            result.without(failures) if len(failures) < len(batch) else None,
        )

    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        """Return the tokens of each input, of which all are read; see `Encoder.read_tokens`."""
        counts = super().read_tokens(inputs)
        return None if counts is None else [count._replace(encoded=count.total) for count in counts]

    def _stored_texts(self, text: str, spans: Sequence[Span]) -> tuple[str, ...] | None:
        return tuple(text[start:end] for start, end in spans) if self._chunks.store_text else None

    def _encode_part(
        self, part: Sequence[tuple[object, object]], batch_index: int, verbose: bool
    ) -> tuple[EncodedBatch | None, Mapping[int, InputRejected]]:
        """Return the vectors of chunks, and those that the model rejected by their position in the part."""
        try:
            return super().encode(part, batch_index, verbose), {}
        except RowsRejected as error:
            if not error.failures:
                raise
            return error.encoded, error.failures

    def _tokens(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        function = getattr(self._module, "embedding_token_spans", None)
        if function is None:
            return approximate_tokens(texts)
        with translate_wrapper_errors(self.name, "embedding_token_spans", gets_inputs=True), self._call_lock:
            spans: Sequence[Sequence[Span]] = function(texts)
            return spans

    def _check_window(self) -> None:
        """Check once that a chunk of the configured size fits into the model's window."""
        if self._fits_window:
            return
        counts = super().read_tokens(["a " * self._size.size])
        if counts and counts[0].encoded is not None and counts[0].encoded < counts[0].total:
            fits = self._size.size - (counts[0].total - counts[0].encoded)
            raise ModelError(
                f"chunks.size is {self._size.size} tokens, but the model {self.name} reads only {fits} of a text "
                f"without its special tokens. Set chunks.size to {fits} or less (for `crdbvec migrate`, --chunk-size)."
            )
        self._fits_window = True


def split_prefix(value: str, chunks: ChunksSpec) -> tuple[str, str]:
    """Return the text before each chunk and the text that is divided, from an input that contains both.

    The database joins them as `<length of the prefix>:<prefix><text>`, so that they can be separated again.
    """
    if chunks.prefix is None:
        return "", value
    length, _, rest = value.partition(":")
    return rest[: int(length)], rest[int(length) :]
