"""The encoder: calls a model wrapper and checks its results.

An encoder reads the properties of a wrapper, encodes batches with the functions that the wrapper defines, and checks
the results (`validation`). `registry` chooses the wrapper; the wrapper computes the vectors.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.chunk_set import ChunkSet, Embedding
from crdbvec_pipelines.config import METRICS, Metric
from crdbvec_pipelines.encoding.backends import Backend, EncodedTexts, TokenCount, Vectors
from crdbvec_pipelines.encoding.contract import ModelModule
from crdbvec_pipelines.encoding.error_translation import translate_encoding_errors, translate_wrapper_errors
from crdbvec_pipelines.encoding.errors import InputRejected, ModelError, RowsRejected
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.encoding.picture_summary import PictureSummary
from crdbvec_pipelines.encoding.reasons import Reason
from crdbvec_pipelines.encoding.validation import (
    check_flags,
    check_unknown_shares,
    check_vector,
    check_vectors,
    vectors_in_key_order,
)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """The result of encoding one batch.

    Attributes:
        vectors: The vectors in the order of the batch, float32, C-contiguous, of shape (rows, dim).
        truncated: For each row, whether its text was truncated, bool of shape (rows,); all False if the model does not
            report it.
        unknown_shares: For each row, the share of its encoded tokens that the model does not know, float32 of shape
            (rows,); None if the model does not report it.
        tokens: How many tokens the model has read; 0 if it does not report it.
        chunks: For each row, its chunks with their vectors, in place of `vectors`; None for one vector a row.
        pictures: The pictures that the model has read; None if the inputs are no pictures.
    """

    vectors: Vectors
    truncated: NDArray[np.bool_]
    unknown_shares: NDArray[np.float32] | None = None
    tokens: int = 0
    chunks: tuple[ChunkSet, ...] | None = None
    pictures: PictureSummary | None = None

    @property
    def embeddings(self) -> Sequence[Embedding]:
        """What each row becomes: its vector, or its chunks."""
        return list(self.vectors) if self.chunks is None else self.chunks

    def without(self, positions: Mapping[int, object]) -> "EncodedBatch":
        """Return the results of the rows that are not at the given positions."""
        kept = np.array([position not in positions for position in range(len(self.vectors))], np.bool_)
        shares = self.unknown_shares
        kept_shares = None if shares is None else shares[kept]
        chunks = self.chunks and tuple(each for each, is_kept in zip(self.chunks, kept, strict=True) if is_kept)
        return EncodedBatch(self.vectors[kept], self.truncated[kept], kept_shares, self.tokens, chunks, self.pictures)


class Encoder:
    """A model; its weights are loaded by `load` or by the first batch.

    Args:
        name: The name of the model.
        module: The wrapper of the model, checked against the contract and configured.
        threads: The maximum number of processor threads; None uses the model's default.
    """

    def __init__(self, name: str, module: ModelModule, threads: int | None = None) -> None:
        self.name = name
        # The optional functions may be missing.
        self._module: Any = module
        self._threads = threads
        self._backend: Backend | None = None
        self._backend_lock = threading.Lock()
        is_thread_safe = bool(self._call_optional("embedding_is_thread_safe", False))
        self._call_lock: AbstractContextManager[Any] = nullcontext() if is_thread_safe else threading.RLock()

    def _call_optional(self, function: str, default: object) -> object:
        if not hasattr(self._module, function):
            return default
        with translate_wrapper_errors(self.name, function):
            return getattr(self._module, function)()

    @property
    def runs_in_parallel(self) -> bool:
        """Whether one process can use several cores: the model has an engine, or its wrapper is thread-safe."""
        return hasattr(self._module, "embedding_backend") or isinstance(self._call_lock, nullcontext)

    @cached_property
    def label(self) -> str:
        """The line that the list of models shows."""
        return str(self._call_optional("embedding_label", ""))

    @cached_property
    def description(self) -> str:
        """A paragraph with dimension, language, limits and a link."""
        return str(self._call_optional("embedding_description", ""))

    @cached_property
    def model_id(self) -> str:
        """The id that distinguishes the vectors of this model from others; part of each row's fingerprint."""
        return str(self._call_optional("embedding_id", self.name))

    @cached_property
    def dim(self) -> int:
        """The dimension of the vectors."""
        dim = self._call_optional("embedding_dim", None)
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise ModelError(
                f"The dimension of the model {self.name} is {dim!r}. Return an integer of 1 or more from embedding_dim."
            )
        return dim

    @cached_property
    def metric(self) -> Metric:
        """The distance that the vectors are made for; it decides the operator class of the index and the operator."""
        metric = self._call_optional("embedding_metric", "cosine")
        if metric not in METRICS:
            raise ModelError(
                f"The metric of the model {self.name} is {metric!r}. "
                f"Return one of {', '.join(METRICS)} from embedding_metric."
            )
        return cast(Metric, metric)

    def check_settings(self) -> None:
        """Check that the model can encode as the entry says; only some settings depend on the model.

        Raises:
            ModelError: It cannot; the message names the setting.
        """

    def load_backend(self) -> Backend | None:
        """Return the loaded backend of the model; None if its wrapper has none.

        Raises:
            ModelError: The weights are not found, or the backend is not installed.
        """
        if not hasattr(self._module, "embedding_backend"):
            return None
        # Without the lock, two threads could load the weights at the same time.
        with self._backend_lock:
            if self._backend is None:
                with translate_wrapper_errors(self.name, "embedding_backend"):
                    self._backend = cast(Backend, self._module.embedding_backend(self._threads))
            return self._backend

    def load(self) -> None:
        """Load the weights, if the wrapper defines `embedding_backend`; other models load them with the first batch.

        Raises:
            ModelError: The weights are not found, or the backend is not installed.
        """
        self.load_backend()

    def load_in_background(self) -> None:
        """Load the weights in a thread, while the caller prepares its first batch.

        An error is ignored here; the next call of the encoder raises it. The thread is not a daemon, because a process
        that exits while a backend is being loaded crashes.
        """

        def load() -> None:
            with suppress(Exception):
                self.load()

        threading.Thread(target=load, name="crdbvec-load-model").start()

    def encode(
        self, batch: Sequence[tuple[object, object]], batch_index: int = 0, verbose: bool = False
    ) -> EncodedBatch:
        """Encode the inputs of a batch; safe to call from several threads.

        Args:
            batch: Pairs of key and input; the keys are hashable and distinct.
            batch_index: The number of the batch, for the messages of the wrapper and of errors.
            verbose: Passed to the wrapper, which may print its progress.

        Returns:
            The vectors, in the order of the batch.

        Raises:
            RowsRejected: The model rejected some inputs of the batch; the error contains the results of the others.
            InputRejected: The model rejected an input of the batch, and did not say which.
            EncoderUnavailable: The model is temporarily unavailable.
            EncodingError: The result of the model cannot be used.
            ModelError: The model cannot be used at all.
        """
        if not batch:
            return EncodedBatch(np.empty((0, self.dim), np.float32), np.zeros(0, np.bool_))
        where = f"The model {self.name}, batch {batch_index} of {len(batch)} rows"
        backend = self.load_backend()
        if backend is not None:
            with translate_encoding_errors(where):
                inputs = [self._input(value, backend) for _, value in batch]
                texts = EncodedTexts(*backend.encode(inputs))
            vectors, unusable = check_vectors(texts.vectors, len(batch), self.dim, where)
            encoded = EncodedBatch(
                vectors,
                check_flags(texts.truncated, len(batch), where),
                check_unknown_shares(texts.unknown_shares, len(batch), where),
                texts.tokens,
                pictures=texts.pictures,
            )
            return _accepted(encoded, {**self._zero_vectors(vectors, where), **unusable, **texts.failures}, where)
        with translate_encoding_errors(where), self._call_lock:
            pairs = list(self._module.embedding_encode_batch(batch_index, batch, verbose))
        vectors, failures = vectors_in_key_order(pairs, [key for key, _ in batch], self.dim, where)
        failures = {**self._zero_vectors(vectors, where), **failures}
        return _accepted(EncodedBatch(vectors, np.zeros(len(batch), np.bool_)), failures, where)

    def _zero_vectors(self, vectors: Vectors, where: str) -> dict[int, InputRejected]:
        """Return an error for each vector of zeros, which has no angle to others, by its position."""
        if self.metric != "cosine":
            return {}
        return {
            int(position): InputRejected(
                f"{where}: the vector at position {position} consists of zeros, so it has no cosine distance.",
                reason=Reason.UNUSABLE_VECTOR,
                detail="zeros",
            )
            for position in np.flatnonzero(~vectors.any(axis=1))
        }

    def count_tokens(self, inputs: Sequence[object]) -> list[int] | None:
        """Return the number of tokens of each input, untruncated; None if the model does not count tokens.

        Raises:
            ModelError: The model cannot be loaded, or an input is not text.
        """
        return self._count_tokens(self.load_backend(), inputs)

    def _count_tokens(self, backend: Backend | None, inputs: Sequence[object]) -> list[int] | None:
        if backend is None or self._reads_locations or self._are_pictures(inputs, backend):
            return None
        texts = [self._text(value) for value in inputs]
        with translate_wrapper_errors(self.name, "count_tokens", gets_inputs=True):
            return backend.count_tokens(texts)

    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        """Return the tokens of each input: all, those within the model's window, and the share of unknown ones.

        The weights are not loaded if the wrapper defines `embedding_tokens`.

        Returns:
            The tokens in the order of the inputs; None if the model does not count tokens.

        Raises:
            ModelError: The model cannot be loaded, or an input is not text.
        """
        if self._reads_locations:
            return None
        function = getattr(self._module, "embedding_tokens", None)
        # Whether a model reads pictures is known when it is loaded.
        has_other_inputs = any(not isinstance(value, str) for value in inputs)
        backend = self.load_backend() if function is None or has_other_inputs else None
        if backend is not None and self._are_pictures(inputs, backend):
            return None
        function = function or getattr(backend, "tokens", None)
        if function is not None:
            texts = [self._text(value) for value in inputs]
            with translate_wrapper_errors(self.name, "embedding_tokens", gets_inputs=True), self._call_lock:
                return [TokenCount(*count) for count in function(texts)]
        counts = self._count_tokens(backend, inputs)
        return None if counts is None else [TokenCount(count) for count in counts]

    def encode_query(self, text: str) -> Vectors:
        """Encode a search query.

        Args:
            text: The query, in the form that the model accepts.

        Returns:
            The vector, float32 of shape (dim,).

        Raises:
            EncodingError, ModelError: As `encode`.
        """
        where = f"The model {self.name}, the query"
        function = getattr(self._module, "embedding_encode_query", None)
        backend = self.load_backend() if function is None else None
        with translate_encoding_errors(where):
            if backend is not None:
                encoded = EncodedTexts(*backend.encode([self._text(text)]))
                for rejected in encoded.failures.values():
                    raise rejected
                vector = encoded.vectors.reshape(-1)
            else:
                with self._call_lock:
                    vector = (function or self._module.embedding_encode)(text)
        return check_vector(vector, self.dim, where)

    def encode_picture(self, content: bytes) -> Vectors:
        """Encode the content of an image file as a search query.

        Returns:
            The vector, float32 of shape (dim,).

        Raises:
            InputRejected: The content is not a picture, is damaged, or has too many pixels.
            ModelError: The model does not read pictures.
        """
        try:
            vector: Vectors = self.encode([(0, content)]).vectors[0]
        except RowsRejected as error:
            raise error.failures[0] from None
        return vector

    @cached_property
    def pictures(self) -> PictureInputs:
        """Reads the pictures that inputs of rows are, or name, as the model reads them."""
        found = getattr(self._module, "pictures", None)
        # A wrapper may have an attribute of this name for something else.
        return found if isinstance(found, PictureInputs) else PictureInputs()

    @property
    def _reads_locations(self) -> bool:
        """Whether the texts of rows name pictures, so that their tokens mean nothing."""
        return self.pictures.locations is not None

    def _are_pictures(self, inputs: Sequence[object], backend: Backend) -> bool:
        """Return whether some inputs are not texts, of a model that reads pictures."""
        return getattr(backend, "reads_pictures", False) and any(not isinstance(value, str) for value in inputs)

    def _input(self, value: object, backend: Backend) -> Any:
        """Return an input of a backend: a text, or the content of an image file if the model reads pictures."""
        is_content = isinstance(value, (bytes, bytearray, memoryview))
        return value if is_content and getattr(backend, "reads_pictures", False) else self._text(value)

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            return value
        raise ModelError(
            f"The model {self.name} encodes text, but the input has the type {type(value).__name__}. "
            "Choose a text column, write a template that converts the input to text, or choose another model."
        )


def _accepted(encoded: EncodedBatch, failures: Mapping[int, InputRejected], where: str) -> EncodedBatch:
    """Return the results of a batch without failed rows.

    Raises:
        RowsRejected: There are failed rows.
    """
    if not failures:
        return encoded
    rows = len(encoded.vectors)
    first = min(failures)
    raise RowsRejected(
        f"{where}: the model rejected {len(failures)} inputs, the first at position {first}: "
        f"{failures[first].stored_text}",
        failures,
        encoded.without(failures) if len(failures) < rows else None,
    )
