"""A model behind a server of OpenAI's kind, by the wrapper contract: settings, division into requests, dimension.

The request itself is `openai_client`'s affair. Texts leave the machine, so no address is assumed: without one there
is no model.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.errors import InputRefused, ModelError
from crdbvec_pipelines.encoding.settings import ModelSettings, read_settings

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.openai_client import EmbeddingsClient

_PREFIX = "CRDBVEC_OPENAI_"


class OpenAISettings(ModelSettings):
    """What `models.settings.<name>` may hold, or the environment as CRDBVEC_OPENAI_<NAME IN CAPITALS>.

    The key is not among them, so that no file holds it: it comes from CRDBVEC_OPENAI_API_KEY alone.

    Attributes:
        base_url: The server's address up to and including `/v1`.
        model: The server's name for the model.
        dimensions: The length to which the server shall shorten the vectors; only for models that can.
        batch: How many texts one request holds at most; the default is what TEI allows a client by default.
        batch_characters: How many characters one request holds, unless a single text is longer.
        timeout: Seconds without an answer after which a try is given up.
        tries: How often a request is made before the server counts as unavailable.
    """

    base_url: str = ""
    model: str = ""
    dimensions: PositiveInt | None = None
    batch: PositiveInt = 32
    batch_characters: PositiveInt = 200_000
    timeout: PositiveFloat = 60.0
    tries: PositiveInt = 6


class OpenAIModel:
    """The model of one server; making it asks nothing of the server, nor of the environment."""

    def __init__(self) -> None:
        self._given: Mapping[str, object] = {}
        self._read: OpenAISettings | None = None
        self._connected: EmbeddingsClient | None = None
        self._dim: int | None = None
        self._lock = threading.RLock()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the settings of `crdbvec.yaml`, which go before the environment's.

        Raises:
            ModelError: A setting is unknown, or has a value that it cannot have.
        """
        read_settings(OpenAISettings, settings)
        self._given = settings

    def id(self) -> str:
        """Return the model's name and length of vectors; not the address, since a server may move."""
        settings = self._settings()
        return f"openai:{settings.model}" + (f"-{settings.dimensions}" if settings.dimensions else "")

    def dim(self) -> int:
        """Return the dimension: as set, else learnt by encoding one word the first time.

        Raises:
            EncoderUnavailable: The server does not answer.
            ModelError: It refuses the key, the model or the settings.
        """
        with self._lock:
            if self._dim is None:
                self._dim = self._settings().dimensions or self._probe()
            return self._dim

    def is_thread_safe(self) -> bool:
        """Say yes: the connection pool is shared safely."""
        return True

    def backend(self, threads: int | None = None) -> "OpenAIModel":
        """Return itself: the work is the server's, and takes no threads here."""
        return self

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Encode texts in requests of bounded size; see `Backend.encode`. What a server cuts, it does not say."""
        settings = self._settings()
        vectors: list[Vectors] = []
        for part in _requests(texts, settings.batch, settings.batch_characters):
            try:
                vectors.append(self._client().embed(part, settings.model, settings.dimensions))
            except InputRefused:
                # A server that refuses everything (a setting is wrong) must not be taken for one that minds a text.
                self._probe()
                raise
        if not vectors:
            return np.empty((0, self.dim()), np.float32), np.empty(0, np.bool_)
        lengths = {part.shape[1] for part in vectors}
        if settings.dimensions and lengths != {settings.dimensions}:
            raise ModelError(
                f"The embeddings server answers vectors of {min(lengths)} dimensions, where {_PREFIX}DIMENSIONS asks "
                f"for {settings.dimensions}: unset it for a model that cannot shorten its vectors."
            )
        return np.concatenate(vectors), np.zeros(len(texts), np.bool_)

    def count_tokens(self, texts: Sequence[str]) -> None:
        """Return None: only the server knows; see `Backend.count_tokens`."""

    def encode_one(self, input_data: str, verbose: bool = False) -> list[float]:
        """Encode one text; `verbose` is there for the contract."""
        return cast("list[float]", self.encode([input_data])[0][0].tolist())

    def encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, str]], verbose: bool = False
    ) -> list[tuple[Any, list[float]]]:
        """Encode (key, text) pairs into (key, vector) pairs, in their order."""
        pairs = list(batch)
        vectors, _ = self.encode([text for _, text in pairs])
        return [(key, vector) for (key, _), vector in zip(pairs, vectors.tolist(), strict=True)]

    def _probe(self) -> int:
        settings = self._settings()
        try:
            return len(self._client().embed(["dimension"], settings.model, settings.dimensions)[0])
        except InputRefused as error:
            raise ModelError(
                f"The embeddings server refuses even a single word: check {_PREFIX}MODEL and {_PREFIX}DIMENSIONS."
            ) from error

    def _settings(self) -> OpenAISettings:
        with self._lock:
            if self._read is None:
                variables = {name: _PREFIX + name.upper() for name in OpenAISettings.model_fields}
                environment = {name: os.environ[v] for name, v in variables.items() if os.environ.get(v)}
                settings = read_settings(OpenAISettings, {**environment, **self._given}, variables)
                for name in ("base_url", "model"):
                    if not getattr(settings, name):
                        raise ModelError(f"No embeddings server is configured: set {variables[name]}.")
                self._read = settings
            return self._read

    def _client(self) -> "EmbeddingsClient":
        from crdbvec_pipelines.encoding.openai_client import EmbeddingsClient

        with self._lock:
            if self._connected is None:
                settings = self._settings()
                key = os.environ.get(_PREFIX + "API_KEY", "")
                self._connected = EmbeddingsClient(settings.base_url, key, settings.timeout, settings.tries)
            return self._connected


def _requests(texts: Sequence[str], rows: int, characters: int) -> Iterator[list[str]]:
    """Divide texts, in their order, into parts of at most so many rows and, but for a longer text, characters."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and (len(part) == rows or size + len(text) > characters):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part
