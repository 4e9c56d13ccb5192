"""The model that orders the first hits of a search again: a cross-encoder of sentence-transformers by name."""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from crdbvec_pipelines.config.model_name import split_model
from crdbvec_pipelines.encoding.backends.select import BackendOptions, Device, resolve_device
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.located_model import locate_model
from crdbvec_pipelines.encoding.model_folder import check_configuration
from crdbvec_pipelines.encoding.models.settings import ModelSettings, read_settings

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.backends.cross_encoder import CrossEncoderBackend

# What transformers calls the classes whose last layer returns how well two texts fit: a layer for that, or the
# probability of the word "yes".
_ARCHITECTURES = ("ForSequenceClassification", "ForCausalLM")


class RerankerSettings(ModelSettings):
    """The settings of a reranker, next to its name in crdbvec.yaml.

    Attributes:
        revision: A branch, a tag or a commit of the repository.
        max_tokens: The maximum number of tokens of the query and a text together.
        batch: The number of texts that are compared with the query at the same time.
        device: The device to compute on.
    """

    revision: str | None = Field(default=None, min_length=1)
    max_tokens: PositiveInt | None = None
    batch: PositiveInt = 32
    device: Device = "auto"


class Reranker:
    """A cross-encoder by name. Creating the object loads nothing. Thread-safe.

    Args:
        model: The id of a repository, as `organization/model`, or a folder, with its settings as one text
            (`model_name`).
        further: Settings of `models.settings`, over which those next to the name take precedence.

    Raises:
        ModelError: A setting is unknown, or its value is invalid.
    """

    def __init__(self, model: str, further: Mapping[str, object] | None = None) -> None:
        self.name, own = split_model(model)
        self._settings = read_settings(RerankerSettings, {**(further or {}), **own})
        self._backend: CrossEncoderBackend | None = None
        self._lock = threading.Lock()

    def relevance(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how relevant each text is for a query, shape (texts,), in the unit of the model; more is better.

        Raises:
            ModelError: The model is not found, or cannot be loaded.
        """
        if not texts:
            return np.empty(0, np.float32)
        with self._lock:
            if self._backend is None:
                self._backend = self._load(self._locate()[0])
            return self._backend.relevance(query, texts)

    def add(self) -> tuple[Path, str | None]:
        """Download the model again, check it and pin it; return its folder and its commit.

        Raises:
            ModelError: The model cannot be downloaded, or cannot be used.
        """
        with self._lock:
            directory, commit = self._locate(download=True)
            self._backend = self._load(directory)
            return directory, commit

    def _locate(self, *, download: bool = False) -> tuple[Path, str | None]:
        weights, commit = locate_model(self.name, self._settings.revision, download=download)
        return weights.directory, commit

    def _load(self, directory: Path) -> "CrossEncoderBackend":
        from crdbvec_pipelines.encoding.backends.cross_encoder import CrossEncoderBackend

        check_configuration(directory, needs_pooling=False)
        _check_kind(self.name, directory)
        device = resolve_device(BackendOptions(self._settings.device))
        return CrossEncoderBackend(directory, device, self._settings.max_tokens, self._settings.batch)


def _check_kind(name: str, directory: Path) -> None:
    """Check that a folder has a cross-encoder; any other model would be given a last layer of random numbers."""
    configurations = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(directory.rglob("config.json"))]
    names = [str(each) for config in configurations for each in config.get("architectures") or ()]
    if not any(each.endswith(_ARCHITECTURES) for each in names):
        raise ModelError(
            f"The model {name} is not a cross-encoder: its architecture is {', '.join(names) or 'not known'}. Set "
            "`rerank` to a model that scores pairs of texts, such as cross-encoder/ms-marco-MiniLM-L6-v2."
        )
