"""The functions of a wrapper for a model on a server with OpenAI's API: settings, requests, dimension.

`openai_client` sends the requests. There is no default address, because texts are sent to the server.
"""

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from crdbvec_pipelines.encoding.backends import EncodedTexts, Vectors
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelError
from crdbvec_pipelines.encoding.models.settings import ModelSettings, read_settings

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.models.openai_client import EmbeddingsClient

_PREFIX = "CRDBVEC_OPENAI_"


class OpenAISettings(ModelSettings):
    """The settings, in crdbvec.yaml under `models.settings.<name>` or in the environment as CRDBVEC_OPENAI_<NAME>.

    The API key is not a setting, so that no file contains it. It is read from CRDBVEC_OPENAI_API_KEY only.

    Attributes:
        base_url: The address of the server up to and including `/v1`.
        model: The name of the model on the server.
        dimensions: The dimension to which the server truncates the vectors; only for models that support it.
        batch: The maximum number of texts per request; the default is TEI's default limit for clients.
        batch_characters: The maximum number of characters per request; a single longer text is a request.
        timeout: Seconds without a response after which an attempt fails.
        tries: The maximum number of attempts, after which the server counts as unavailable.
    """

    base_url: str = ""
    model: str = ""
    dimensions: PositiveInt | None = None
    batch: PositiveInt = 32
    batch_characters: PositiveInt = 200_000
    timeout: PositiveFloat = 60.0
    tries: PositiveInt = 6


class OpenAIModel:
    """The model of one server; creating the object neither sends a request nor reads the environment."""

    def __init__(self) -> None:
        self._configured: Mapping[str, object] = {}
        self._settings: OpenAISettings | None = None
        self._client: EmbeddingsClient | None = None
        self._dim: int | None = None
        self._has_encoded = False
        self._lock = threading.RLock()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings of crdbvec.yaml, which take precedence over those of the environment.

        Raises:
            ModelError: A setting is unknown, or its value is invalid.
        """
        read_settings(OpenAISettings, settings)
        self._configured = settings

    def id(self) -> str:
        """Return the model id: model name and configured dimension; without the address, which may change."""
        settings = self._read_settings()
        return f"openai:{settings.model}" + (f"-{settings.dimensions}" if settings.dimensions else "")

    def dim(self) -> int:
        """Return the configured dimension, otherwise that of one encoded word, which is requested once.

        Raises:
            EncoderUnavailable: The server is unavailable.
            ModelError: The server rejected the API key, the model or the settings.
        """
        with self._lock:
            if self._dim is None:
                self._dim = self._read_settings().dimensions or self._probe()
            return self._dim

    def is_thread_safe(self) -> bool:
        """Return True: threads can share the connection pool."""
        return True

    def backend(self, threads: int | None = None) -> "OpenAIModel":
        """Return this object; the server computes, so `threads` is unused."""
        return self

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts in requests of limited size; see `Backend.encode`. Servers do not report truncated texts.

        If the server rejects a request, it is sent again in two halves, down to single texts. The vectors of the other
        requests are kept.
        """
        settings = self._read_settings()
        parts: list[Vectors | InputRejected] = []
        sizes: list[int] = []
        for request in _split_into_requests(texts, settings.batch, settings.batch_characters):
            for size, part in self._embed(request):
                sizes.append(size)
                parts.append(part)
        lengths = {part.shape[1] for part in parts if not isinstance(part, InputRejected)}
        if not lengths:
            lengths = {self.dim()}
        if settings.dimensions and lengths != {settings.dimensions}:
            raise ModelError(
                f"The embeddings server returns vectors of dimension {min(lengths)}, but {_PREFIX}DIMENSIONS is "
                f"{settings.dimensions}. Unset it for a model that cannot truncate its vectors."
            )
        # A length that differs from that of other responses is a fault of the server: no text is its cause.
        if len(lengths | ({self._dim} if self._dim else set())) > 1:
            raise EncoderUnavailable(
                f"The embeddings server returned vectors of dimension {max(lengths)}, and others of another dimension. "
                "Check the server and its model."
            )
        vectors = np.zeros((len(texts), lengths.pop()), np.float32)
        failures: dict[int, InputRejected] = {}
        for end, size, part in zip(itertools.accumulate(sizes), sizes, parts, strict=True):
            if isinstance(part, InputRejected):
                failures[end - 1] = part
            else:
                vectors[end - size : end] = part
        return EncodedTexts(vectors, np.zeros(len(texts), np.bool_), None, failures)

    def _embed(self, texts: list[str]) -> Iterator[tuple[int, Vectors | InputRejected]]:
        """Yield the vectors of parts of a request, or the error of a single rejected text, in the texts' order."""
        settings = self._read_settings()
        try:
            vectors = self._connect().embed(texts, settings.model, settings.dimensions)
        except InputRejected as error:
            # If the server also rejects a harmless word, a setting is wrong and not the text.
            if not self._has_encoded:
                self._probe()
            if len(texts) == 1:
                yield 1, error
                return
            middle = len(texts) // 2
            yield from self._embed(texts[:middle])
            yield from self._embed(texts[middle:])
        else:
            self._has_encoded = True
            yield len(texts), vectors

    def count_tokens(self, texts: Sequence[str]) -> None:
        """Return None, because only the server has the tokenizer; see `Backend.count_tokens`."""

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

    def _encode_all(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts none of which may be rejected."""
        encoded = self.encode(texts)
        for error in encoded.failures.values():
            raise error
        return encoded.vectors

    def _probe(self) -> int:
        settings = self._read_settings()
        try:
            dimension = len(self._connect().embed(["dimension"], settings.model, settings.dimensions)[0])
        except InputRejected as error:
            raise ModelError(
                f"The embeddings server rejects every input. Check {_PREFIX}MODEL and {_PREFIX}DIMENSIONS."
            ) from error
        self._has_encoded = True
        return dimension

    def _read_settings(self) -> OpenAISettings:
        with self._lock:
            if self._settings is None:
                variables = {name: _PREFIX + name.upper() for name in OpenAISettings.model_fields}
                environment = {
                    name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)
                }
                settings = read_settings(OpenAISettings, {**environment, **self._configured}, variables)
                for name in ("base_url", "model"):
                    if not getattr(settings, name):
                        raise ModelError(f"No embeddings server is configured. Set {variables[name]}.")
                self._settings = settings
            return self._settings

    def _connect(self) -> "EmbeddingsClient":
        from crdbvec_pipelines.encoding.models.openai_client import EmbeddingsClient

        with self._lock:
            if self._client is None:
                settings = self._read_settings()
                key = os.environ.get(_PREFIX + "API_KEY", "")
                self._client = EmbeddingsClient(settings.base_url, key, settings.timeout, settings.tries)
            return self._client


def _split_into_requests(texts: Sequence[str], max_texts: int, max_characters: int) -> Iterator[list[str]]:
    """Yield the texts in their order, in parts within both limits; a single longer text is a part."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and (len(part) == max_texts or size + len(text) > max_characters):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part
