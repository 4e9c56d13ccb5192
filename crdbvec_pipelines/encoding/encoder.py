"""Calling a model: the one way in for whoever has inputs and wants vectors.

An encoder asks a wrapper what it is, encodes batches with it whichever of the contract's functions it has, and
checks what comes back (`answers`). Which wrapper, is `registry`'s affair; how texts become vectors, the wrapper's.
"""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.answers import check_flags, check_vector, check_vectors, in_order
from crdbvec_pipelines.encoding.backends import Backend, Vectors
from crdbvec_pipelines.encoding.blame import rows_at_fault, wrapper_at_fault
from crdbvec_pipelines.encoding.contract import METRICS, Metric
from crdbvec_pipelines.encoding.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """What became of one batch.

    Attributes:
        vectors: float32, C-contiguous, of shape (rows, dim), in the batch's order.
        truncated: bool of shape (rows,): which texts were longer than the model's window; none where it does not say.
    """

    vectors: Vectors
    truncated: NDArray[np.bool_]


class Encoder:
    """A model, ready to be asked; its weights are loaded by `warm_up` or by the first batch.

    Args:
        name: The model's name.
        module: The model's wrapper, checked against the contract and configured.
        threads: How many processor threads the model may use; None leaves it to the model.
    """

    def __init__(self, name: str, module: ModuleType, threads: int | None = None) -> None:
        self.name = name
        self._module = module
        self._threads = threads
        self._backend: Backend | None = None
        self._engine_lock = threading.Lock()
        safe = bool(self._optional("embedding_is_thread_safe", False))
        self._calls: AbstractContextManager[Any] = nullcontext() if safe else threading.RLock()

    def _optional(self, function: str, default: object) -> object:
        if not hasattr(self._module, function):
            return default
        with wrapper_at_fault(self.name, function):
            return getattr(self._module, function)()

    @cached_property
    def label(self) -> str:
        """One line for the list of models."""
        return str(self._optional("embedding_label", ""))

    @cached_property
    def description(self) -> str:
        """A paragraph: dimension, language, limits, link."""
        return str(self._optional("embedding_description", ""))

    @cached_property
    def model_id(self) -> str:
        """What tells this model's vectors from another's; part of each row's fingerprint."""
        return str(self._optional("embedding_id", self.name))

    @cached_property
    def dim(self) -> int:
        """The vectors' dimension."""
        dim = self._optional("embedding_dim", None)
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise ModelError(
                f"The model {self.name} gives its dimension as {dim!r}: embedding_dim must return 1 or more."
            )
        return dim

    @cached_property
    def metric(self) -> Metric:
        """The distance that the vectors are made for: decides the index's operator class and the search's operator."""
        metric = self._optional("embedding_metric", "cosine")
        if metric not in METRICS:
            raise ModelError(
                f"The model {self.name} gives its metric as {metric!r}: "
                f"embedding_metric must return one of {', '.join(METRICS)}."
            )
        return cast(Metric, metric)

    def _engine(self) -> Backend | None:
        if not hasattr(self._module, "embedding_backend"):
            return None
        # Two threads that both find no engine must not load the weights twice.
        with self._engine_lock:
            if self._backend is None:
                with wrapper_at_fault(self.name, "embedding_backend"):
                    self._backend = cast(Backend, self._module.embedding_backend(self._threads))
            return self._backend

    def warm_up(self) -> None:
        """Load the weights now, for a model that offers its engine; any other loads them at its first batch.

        Raises:
            ModelError: The weights are not found, or the engine is not installed.
        """
        self._engine()

    def warm_up_aside(self) -> None:
        """Load the weights in a thread, for a caller who has other things to do before its first batch.

        What goes wrong is told by whatever asks the model next. The process does not end before the thread has: an
        engine that is torn down while it loads takes the process with it.
        """

        def load() -> None:
            with suppress(Exception):
                self.warm_up()

        threading.Thread(target=load, name="crdbvec-warm-up").start()

    def encode(
        self, batch: Sequence[tuple[object, object]], batch_index: int = 0, verbose: bool = False
    ) -> EncodedBatch:
        """Encode the inputs of a batch; may be called from several threads.

        Args:
            batch: (key, input) pairs; the keys are hashable and distinct.
            batch_index: The batch's number, for the messages of the wrapper and of errors.
            verbose: Handed to the wrapper, which may print what it does.

        Returns:
            The vectors, in the batch's order.

        Raises:
            InputRefused: The model failed on this batch because of what it holds.
            EncoderUnavailable: The model cannot answer now.
            EncodingError: The model's answer cannot be used.
            ModelError: The model cannot be used at all.
        """
        if not batch:
            return EncodedBatch(np.empty((0, self.dim), np.float32), np.zeros(0, np.bool_))
        where = f"The model {self.name}, batch {batch_index} of {len(batch)} rows"
        backend = self._engine()
        if backend is not None:
            with rows_at_fault(where):
                vectors, truncated = backend.encode([self._text(value) for _, value in batch])
            vectors = check_vectors(vectors, len(batch), self.dim, where)
            return EncodedBatch(vectors, check_flags(truncated, len(batch), where))
        with rows_at_fault(where), self._calls:
            answer = list(self._module.embedding_encode_batch(batch_index, batch, verbose))
        vectors = in_order(answer, [key for key, _ in batch], self.dim, where)
        return EncodedBatch(vectors, np.zeros(len(batch), np.bool_))

    def count_tokens(self, inputs: Sequence[object]) -> list[int] | None:
        """Return how many tokens each input has, uncut; None for a model that does not count them.

        Raises:
            ModelError: The model cannot be loaded, or an input is not text.
        """
        backend = self._engine()
        return None if backend is None else backend.count_tokens([self._text(value) for value in inputs])

    def encode_query(self, text: str) -> Vectors:
        """Encode what is searched for.

        Args:
            text: The query, in whatever form the model takes one.

        Returns:
            The vector, float32 of shape (dim,).

        Raises:
            EncodingError, ModelError: As `encode`.
        """
        where = f"The model {self.name}, the query"
        function = getattr(self._module, "embedding_encode_query", None)
        backend = self._engine() if function is None else None
        with rows_at_fault(where):
            if backend is not None:
                vector = backend.encode([self._text(text)])[0].reshape(-1)
            else:
                with self._calls:
                    vector = (function or self._module.embedding_encode)(text)
        return check_vector(vector, self.dim, where)

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            return value
        raise ModelError(
            f"The model {self.name} encodes text, and the input is of type {type(value).__name__}. "
            "Choose a column of text, write a template that makes text of it, or choose another model."
        )
