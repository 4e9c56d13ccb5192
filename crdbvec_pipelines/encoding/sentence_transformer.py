"""A sentence-transformers model behind the wrapper contract: what the wrappers of such models delegate to.

A wrapper names a model; settings, weights, engine and identity are found here, each when it is first needed. The
engines themselves are in `backends`.
"""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import PositiveInt

from crdbvec_pipelines.encoding.backends import Backend
from crdbvec_pipelines.encoding.backends.select import Device, Engine, EngineOptions, Precision, load_backend
from crdbvec_pipelines.encoding.pipeline import read_pipeline
from crdbvec_pipelines.encoding.settings import ModelSettings, read_settings
from crdbvec_pipelines.encoding.weights import Weights, WeightsPackage, locate


class SentenceTransformerSettings(ModelSettings):
    """What `models.settings.<name>` may hold for a sentence-transformers model.

    Attributes:
        weights: A folder with the model's files, instead of the package or the hub.
        device: Where to compute.
        backend: What to compute with.
        precision: `f32` to never multiply in bfloat16 or float16, which is slower and moves vectors by less than 1e-4.
        threads: How many processor threads to use, in place of the number that the caller reckons.
    """

    weights: Path | None = None
    device: Device = "auto"
    backend: Engine = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None


class SentenceTransformerModel:
    """One sentence-transformers model; making it loads nothing.

    Args:
        hub_name: The model's name on the hub, as `organisation/model`.
        dim: The dimension of its vectors.
        package: An installed package that may carry the weights, for machines that do not reach the hub.
    """

    def __init__(self, hub_name: str, dim: int, package: WeightsPackage | None = None) -> None:
        self.hub_name = hub_name
        self._dim = dim
        self._package = package
        self._settings = SentenceTransformerSettings()
        self._located: Weights | None = None
        self._backends: dict[int | None, Backend] = {}
        self._lock = threading.RLock()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the settings of `crdbvec.yaml`.

        Raises:
            ModelError: A setting is unknown, or has a value that it cannot have.
        """
        self._settings = read_settings(SentenceTransformerSettings, settings)

    def dim(self) -> int:
        """Return the dimension of the vectors, which needs no weights."""
        return self._dim

    def id(self) -> str:
        """Return the model's name on the hub with the digest of its weights and how they make vectors.

        Raises:
            ModelError: The weights are not found.
        """
        weights = self._weights()
        return f"{self.hub_name}@{weights.sha256[:12]}-{read_pipeline(weights.directory).identity}"

    def backend(self, threads: int | None = None) -> Backend:
        """Load the weights into the engine that suits the machine; the second call returns the same engine.

        Args:
            threads: How many processor threads to use at most, unless the settings say it; None for all.

        Raises:
            ModelError: The weights are not found, or the engine asked for is not installed.
        """
        threads = self._settings.threads or threads
        with self._lock:
            if threads not in self._backends:
                weights = self._weights()
                options = EngineOptions(
                    self._settings.device, self._settings.backend, self._settings.precision, threads
                )
                self._backends[threads] = load_backend(weights, read_pipeline(weights.directory), options)
            return self._backends[threads]

    def encode(self, input_data: str, verbose: bool = False) -> list[float]:
        """Encode one text; `verbose` is there for the contract, since whoever calls reports progress better."""
        vectors, _ = self._loaded().encode([input_data])
        return cast("list[float]", vectors[0].tolist())

    def encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, str]], verbose: bool = False
    ) -> list[tuple[Any, list[float]]]:
        """Encode (key, text) pairs into (key, vector) pairs, in their order; for the rest, as `encode`."""
        pairs = list(batch)
        vectors, _ = self._loaded().encode([text for _, text in pairs])
        return [(key, vector) for (key, _), vector in zip(pairs, vectors.tolist(), strict=True)]

    def _loaded(self) -> Backend:
        """Return an engine, the one that a caller had loaded for its number of threads before any other."""
        with self._lock:
            return next(iter(self._backends.values()), None) or self.backend()

    def _weights(self) -> Weights:
        with self._lock:
            if self._located is None:
                self._located = locate(self.hub_name, self._package, self._settings.weights)
            return self._located
