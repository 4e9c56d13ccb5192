"""A model behind an API: requests of limited size, rejected texts, dimension. The clients send the requests."""

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from crdbvec_pipelines.encoding.backends import EncodedTexts, Vectors
from crdbvec_pipelines.encoding.backends.variant import Role
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelError
from crdbvec_pipelines.encoding.models.settings import ModelSettings


class RemoteSettings(ModelSettings):
    """The settings of every model behind an API.

    Attributes:
        dimensions: The dimension to which the server truncates the vectors; only for models that support it.
        batch: The maximum number of texts per request; the default is TEI's default limit for clients.
        timeout: Seconds without a response after which an attempt fails.
        tries: The maximum number of attempts, after which the server counts as unavailable.
    """

    dimensions: PositiveInt | None = None
    batch: PositiveInt = 32
    timeout: PositiveFloat = 60.0
    tries: PositiveInt = 6


class Answer(NamedTuple):
    """The answer to one request.

    Attributes:
        vectors: The vectors in the order of the texts, of shape (len(texts), dimension).
        tokens: How many tokens the model has read, as the server reports it; 0 if it does not.
    """

    vectors: Vectors
    tokens: int = 0


class Names(NamedTuple):
    """How messages name the server and its settings.

    Attributes:
        server: The server, such as `embeddings server`.
        model: The setting of the model.
        dimensions: The setting of the dimension.
    """

    server: str
    model: str
    dimensions: str


class RemoteModel(ABC):
    """The functions of a wrapper of a model behind an API; creating the object sends no request."""

    def __init__(self) -> None:
        self._dim: int | None = None
        self._has_encoded = False
        self._lock = threading.RLock()

    @property
    @abstractmethod
    def _names(self) -> Names:
        """How messages name the server and its settings."""

    @abstractmethod
    def _dimensions(self) -> int | None:
        """Return the configured dimension."""

    @abstractmethod
    def _requests(self, texts: Sequence[str], role: Role) -> Iterator[list[str]]:
        """Yield the texts in their order, in parts that fit into one request."""

    @abstractmethod
    def _request(self, texts: Sequence[str], role: Role) -> Answer:
        """Encode texts with one request, which is retried.

        Raises:
            EncoderUnavailable: The server is unavailable, or its response cannot be used.
            InputRejected: The server rejected the texts.
            ModelError: The server rejected the API key, the model or the settings.
        """

    def dim(self) -> int:
        """Return the configured dimension, otherwise that of one encoded word, which is requested once.

        Raises:
            EncoderUnavailable: The server is unavailable.
            ModelError: The server rejected the API key, the model or the settings.
        """
        with self._lock:
            if self._dim is None:
                self._dim = self._dimensions() or self._probe()
            return self._dim

    def is_thread_safe(self) -> bool:
        """Return True: threads can share the connection pool."""
        return True

    def encode(self, texts: Sequence[str], role: Role = "document") -> EncodedTexts:
        """Encode texts in requests of limited size; see `Backend.encode`. Servers do not report truncated texts.

        If the server rejects a request, it is sent again in two halves, down to single texts. The vectors of the other
        requests are kept.
        """
        parts: list[Vectors | InputRejected] = []
        sizes: list[int] = []
        tokens = 0
        for request in self._requests(texts, role):
            for size, part in self._embed(request, role):
                sizes.append(size)
                parts.append(part if isinstance(part, InputRejected) else part.vectors)
                tokens += 0 if isinstance(part, InputRejected) else part.tokens
        vectors = np.zeros((len(texts), self._checked_dimension(parts)), np.float32)
        failures: dict[int, InputRejected] = {}
        for end, size, result in zip(itertools.accumulate(sizes), sizes, parts, strict=True):
            if isinstance(result, InputRejected):
                failures[end - 1] = result
            else:
                vectors[end - size : end] = result
        return EncodedTexts(vectors, np.zeros(len(texts), np.bool_), None, failures, tokens)

    def _checked_dimension(self, parts: Sequence[Vectors | InputRejected]) -> int:
        """Return the dimension of the vectors of all responses."""
        lengths: set[int] = {part.shape[1] for part in parts if not isinstance(part, InputRejected)} or {self.dim()}
        configured = self._dimensions()
        if configured and lengths != {configured}:
            raise ModelError(
                f"The {self._names.server} returns vectors of dimension {min(lengths)}, but {self._names.dimensions} "
                f"is {configured}. Unset it for a model that cannot truncate its vectors."
            )
        # A length that differs from that of other responses is a fault of the server: no text is its cause.
        if len(lengths | ({self._dim} if self._dim else set())) > 1:
            raise EncoderUnavailable(
                f"The {self._names.server} returned vectors of dimension {max(lengths)}, and others of another "
                "dimension. Check the server and its model."
            )
        return lengths.pop()

    def _embed(self, texts: list[str], role: Role) -> Iterator[tuple[int, Answer | InputRejected]]:
        """Yield the answers to parts of a request, or the error of a single rejected text, in the texts' order."""
        try:
            answer = self._request(texts, role)
        except InputRejected as error:
            # If the server also rejects a harmless word, a setting is wrong and not the text.
            if not self._has_encoded:
                self._probe()
            if len(texts) == 1:
                yield 1, error
                return
            middle = len(texts) // 2
            yield from self._embed(texts[:middle], role)
            yield from self._embed(texts[middle:], role)
        else:
            self._has_encoded = True
            yield len(texts), answer

    def count_tokens(self, texts: Sequence[str]) -> None:
        """Return None, because only the server has the tokenizer; see `Backend.count_tokens`."""
        return  # A body, without which the method would count as an abstract one.

    def encode_one(self, input_data: str, verbose: bool = False) -> list[float]:
        """Return the vector of one text; `verbose` is part of the contract and unused."""
        return cast("list[float]", self._encode_all([input_data])[0].tolist())

    def encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, str]], verbose: bool = False
    ) -> list[tuple[Any, list[float]]]:
        """Return (key, vector) pairs for (key, text) pairs, in the same order; `verbose` is unused."""
        pairs = list(batch)
        vectors = self._encode_all([text for _, text in pairs])
        return [(key, vector) for (key, _), vector in zip(pairs, vectors.tolist(), strict=True)]

    def _encode_all(self, texts: Sequence[str], role: Role = "document") -> Vectors:
        """Return the vectors of texts none of which may be rejected."""
        encoded = self.encode(texts, role)
        for error in encoded.failures.values():
            raise error
        return encoded.vectors

    def _probe(self) -> int:
        is_rejected = False
        try:
            dimension: int = self._request(["dimension"], "document").vectors.shape[1]
        except InputRejected:
            is_rejected = True
        if is_rejected:
            names = self._names
            raise ModelError(f"The {names.server} rejects every input. Check {names.model} and {names.dimensions}.")
        self._has_encoded = True
        return dimension


def split_into_requests(
    texts: Sequence[str], max_texts: int, max_size: float, size_of: Callable[[str], float]
) -> Iterator[list[str]]:
    """Yield the texts in their order, in parts within both limits; a single longer text is a part.

    Args:
        texts: The texts.
        max_texts: The maximum number of texts of a part.
        max_size: The maximum size of a part.
        size_of: Returns the size of a text.
    """
    part: list[str] = []
    total = 0.0
    for text in texts:
        size = size_of(text)
        if part and (len(part) == max_texts or total + size > max_size):
            yield part
            part, total = [], 0.0
        part.append(text)
        total += size
    if part:
        yield part
