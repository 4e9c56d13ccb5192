"""The functions of a wrapper for a sentence-transformers model; the wrapper itself only names the model.

Settings, weights, backend and model id are determined on first use. `backends` contains the backends.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import PositiveInt

from crdbvec_pipelines.encoding.backends import Backend, TokenCount
from crdbvec_pipelines.encoding.backends.inspection import inspect_model
from crdbvec_pipelines.encoding.backends.select import BackendName, BackendOptions, Device, Precision, load_backend
from crdbvec_pipelines.encoding.backends.variant import Variant
from crdbvec_pipelines.encoding.backends.windows import MeanBackend, TextWindows, untruncated
from crdbvec_pipelines.encoding.chunks.splitting import approximate_tokens
from crdbvec_pipelines.encoding.models.named import NamedBackend
from crdbvec_pipelines.encoding.models.settings import ModelSettings, read_settings
from crdbvec_pipelines.encoding.pipeline import read_pipeline
from crdbvec_pipelines.encoding.weights import Weights, WeightsPackage, locate_weights

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer


LongInputs = Literal["truncate", "mean"]


class SentenceTransformerSettings(ModelSettings):
    """The settings of a sentence-transformers model, in crdbvec.yaml under `models.settings.<name>`.

    Attributes:
        weights: The model folder, instead of the package or the hub.
        device: The device to compute on.
        backend: The library to compute with.
        precision: `f32` never multiplies in bfloat16 or float16; it is slower and changes vectors by less than 1e-4.
        threads: The number of processor threads, instead of the number that the caller computes.
        long_inputs: What becomes of a text that is longer than the model's window: `truncate` reads its start only,
            `mean` averages the vectors of overlapping windows. A change makes every row pending.
    """

    weights: Path | None = None
    device: Device = "auto"
    backend: BackendName = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None
    long_inputs: LongInputs = "truncate"


class SentenceTransformerModel:
    """A sentence-transformers model; creating the object loads nothing.

    Args:
        hub_name: The name of the model on the hub, as `organization/model`.
        dim: The dimension of the vectors.
        package: An installed package that may contain the weights, for machines without access to the hub.
    """

    def __init__(self, hub_name: str, dim: int, package: WeightsPackage | None = None) -> None:
        self.hub_name = hub_name
        self._dim = dim
        self._package = package
        self._settings = SentenceTransformerSettings()
        self._located: Weights | None = None
        self._backends: dict[int | None, Backend] = {}
        self._tokenizer: TextTokenizer | None = None
        self._divider: TextWindows | None = None
        self._lock = threading.RLock()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings of crdbvec.yaml.

        Raises:
            ModelError: A setting is unknown, or its value is invalid.
        """
        self._settings = read_settings(SentenceTransformerSettings, settings)

    def dim(self) -> int:
        """Return the dimension of the vectors; loads no weights."""
        return self._dim

    def id(self) -> str:
        """Return the model id: the name on the hub, the digest of the weights, pooling and normalization.

        Raises:
            ModelError: The weights are not found.
        """
        weights = self._weights()
        identity = f"{self.hub_name}@{weights.sha256[:12]}-{read_pipeline(weights.directory).identity}"
        return identity if self._settings.long_inputs == "truncate" else f"{identity}-{self._windows().identity}"

    def backend(self, threads: int | None = None) -> Backend:
        """Return the backend that suits the machine, with the weights loaded; later calls return the same backend.

        Args:
            threads: The maximum number of processor threads, unless the settings specify it; None for all.

        Raises:
            ModelError: The weights are not found, or the configured backend is not installed.
        """
        threads = self._settings.threads or threads
        with self._lock:
            if threads not in self._backends:
                weights = self._weights()
                options = BackendOptions(
                    self._settings.device, self._settings.backend, self._settings.precision, threads
                )
                loaded, prompt = load_backend(weights, options), self._prompt()
                backend: Backend = NamedBackend(loaded, prompt) if prompt else loaded
                if self._settings.long_inputs == "mean":
                    is_normalized = read_pipeline(weights.directory).is_normalized
                    backend = MeanBackend(backend, self._windows(), is_normalized=is_normalized)
                self._backends[threads] = backend
            return self._backends[threads]

    def encode(self, input_data: str, verbose: bool = False) -> list[float]:
        """Return the vector of one text; `verbose` is part of the contract and unused."""
        vectors = self._loaded().encode([input_data])[0]
        return cast("list[float]", vectors[0].tolist())

    def encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, str]], verbose: bool = False
    ) -> list[tuple[Any, list[float]]]:
        """Return (key, vector) pairs for (key, text) pairs, in the same order; `verbose` is unused."""
        pairs = list(batch)
        vectors = self._loaded().encode([text for _, text in pairs])[0]
        return [(key, vector) for (key, _), vector in zip(pairs, vectors.tolist(), strict=True)]

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; the weights are loaded only if the model has no tokenizer.json.

        Raises:
            ModelError: The weights are not found, or the backend is not installed.
        """
        if self._settings.long_inputs == "mean":
            return untruncated(self._token_counts(texts))
        return self._token_counts(texts)

    def _token_counts(self, texts: Sequence[str]) -> list[TokenCount]:
        if not self._tokenizer_file().is_file():
            counts: list[TokenCount] = cast(Any, self._loaded()).tokens(texts)
            return counts
        return self._text_tokenizer().token_counts(texts)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return start and end of each token of each text; those of words for a model without tokenizer.json.

        Raises:
            ModelError: The weights are not found.
        """
        if not self._tokenizer_file().is_file():
            return approximate_tokens(texts)
        return self._text_tokenizer().spans(texts)

    def _tokenizer_file(self) -> Path:
        return self._weights().directory / "tokenizer.json"

    def _text_tokenizer(self) -> "TextTokenizer":
        from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer

        with self._lock:
            if self._tokenizer is None:
                pipeline = read_pipeline(self._weights().directory)
                self._tokenizer = TextTokenizer(
                    self._tokenizer_file(),
                    pipeline.max_seq_length,
                    pad_id=pipeline.pad_token_id,
                    lowercases=pipeline.lowercases_text,
                )
            return self._tokenizer

    def _windows(self) -> TextWindows:
        with self._lock:
            if self._divider is None:
                directory = self._weights().directory
                self._divider = TextWindows(directory, read_pipeline(directory), self._prompt())
            return self._divider

    def _prompt(self) -> str:
        """Return the text that the model's configuration puts before every text; the weights are loaded if it does."""
        weights = self._weights()
        if not read_pipeline(weights.directory).has_default_prompt:
            return ""
        return inspect_model(weights, Variant()).default_prompt

    def _loaded(self) -> Backend:
        """Return the backend that was loaded first, or load one."""
        with self._lock:
            return next(iter(self._backends.values()), None) or self.backend()

    def _weights(self) -> Weights:
        with self._lock:
            if self._located is None:
                self._located = locate_weights(self.hub_name, self._package, self._settings.weights)
            return self._located
