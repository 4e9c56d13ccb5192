"""The registry: finds model wrappers by name and loads each once.

`sources` lists the locations of wrappers, `contract` the functions that they define, `encoder` calls them.
"""

import difflib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from crdbvec_pipelines.config import ChunksSpec, LongInputs, ModelsSpec, ProjectConfig, VectorColumn
from crdbvec_pipelines.config.model_name import PROVIDER_PREFIX, is_named_model, split_model
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from crdbvec_pipelines.encoding.contract import ModelModule, check_module
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.sources import ModelSource, discover
from crdbvec_pipelines.errors import CrdbvecError

if TYPE_CHECKING:
    from crdbvec_pipelines.encoding.models.named import NamedModel
    from crdbvec_pipelines.encoding.models.provider_model import ProviderModel
    from crdbvec_pipelines.encoding.reranker import Reranker


@dataclass(frozen=True)
class RegistrySpecification:
    """What a registry is made from; another process makes the same registry from it.

    Attributes:
        directories: Folders of wrappers.
        settings: By model name, the settings of its wrapper.
    """

    directories: tuple[Path, ...]
    settings: Mapping[str, Mapping[str, object]]


class ModelRegistry:
    """The models that a configuration can use.

    Args:
        directories: Folders of wrappers, searched before the built-in folder and the installed entry points.
        settings: By model name, the settings that `embedding_configure` of its wrapper receives.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._directories = tuple(directories)
        self._settings = dict(settings or {})
        self._encoders: dict[tuple[object, ...], Encoder] = {}
        self._modules: dict[tuple[str, LongInputs | None], ModelModule] = {}
        self._rerankers: dict[str, Reranker] = {}
        self._lock = threading.RLock()

    @property
    def specification(self) -> RegistrySpecification:
        """What this registry was made from."""
        return RegistrySpecification(self._directories, {name: dict(given) for name, given in self._settings.items()})

    @cached_property
    def _sources(self) -> dict[str, ModelSource]:
        sources = discover(self._directories)
        for name in self._settings:
            if name not in sources and not is_named_model(name):
                raise ModelError(
                    f"The configuration has settings for the model {name!r}, which does not exist. "
                    f"{_available_models(name, sources)}"
                )
        return sources

    def names(self) -> list[str]:
        """Return the names of all models, sorted.

        Raises:
            ModelError: A model folder does not exist, or the configuration has settings for an unknown model.
        """
        return sorted(self._sources)

    def find(self, name: str) -> ModelSource:
        """Return the location of a wrapper without importing it, so that checking a configuration is fast.

        A name with a slash is that of a repository of the hub or of a folder, which has no wrapper and is not looked
        for here.

        Raises:
            ModelError: The model does not exist; the message lists the models and suggests the most similar name.
        """
        if is_named_model(name):
            return ModelSource(name)
        try:
            return self._sources[name]
        except KeyError:
            raise ModelError(f"The model {name!r} does not exist. {_available_models(name, self._sources)}") from None

    def load(self, name: str, threads: int | None = None) -> Encoder:
        """Import a wrapper, configure it and return its encoder; the weights are not loaded.

        Args:
            name: The name of the model.
            threads: The maximum number of processor threads, for a caller that runs several encoders; None uses the
                model's default.

        Returns:
            The encoder, the same object for the same arguments.

        Raises:
            ModelError: The model does not exist, or its wrapper cannot be imported, is incomplete or rejects its
                settings.
        """
        return self._encoder(name, threads)

    def encoder_of(self, spec: VectorColumn, threads: int | None = None) -> Encoder:
        """Return the encoder of a configuration entry: that of its model, with the entry's `long_inputs`.

        Args:
            spec: The entry.
            threads: As for `load`.

        Returns:
            The encoder, the same object for entries that encode equally.

        Raises:
            ModelError: As `load`, or the model has no setting `long_inputs`.
        """
        return self._encoder(spec.model, threads, spec.long_inputs, spec.chunking)

    def reranker_of(self, spec: VectorColumn) -> "Reranker | None":
        """Return the reranker of a configuration entry, the same object for the same model; None if it has none.

        Raises:
            ModelError: A setting of it is invalid.
        """
        if spec.rerank is None:
            return None
        return self.reranker(spec.rerank)

    def reranker(self, model: str) -> "Reranker":
        """Return a reranker by name.

        Raises:
            ModelError: A setting of it is invalid.
        """
        # Imported here, because only searches need it.
        from crdbvec_pipelines.encoding.reranker import Reranker

        with self._lock:
            if model not in self._rerankers:
                self._rerankers[model] = Reranker(model, self._settings.get(split_model(model)[0]))
            return self._rerankers[model]

    def _encoder(
        self,
        name: str,
        threads: int | None,
        long_inputs: LongInputs | None = None,
        chunking: ChunksSpec | None = None,
    ) -> Encoder:
        key = (name, threads, long_inputs, chunking)
        with self._lock:
            encoder = self._encoders.get(key)
            if encoder is None:
                module = self._module(name, long_inputs)
                encoder = (
                    Encoder(name, module, threads)
                    if chunking is None
                    else ChunkEncoder(name, module, chunking, threads)
                )
                self._encoders[key] = encoder
            return encoder

    def _module(self, name: str, long_inputs: LongInputs | None = None) -> ModelModule:
        """Return a configured wrapper: another instance of it only if an entry changes its settings."""
        settings = self._settings_of(name, long_inputs)
        if long_inputs is not None and settings == self._settings_of(name):
            return self._module(name)
        if (name, long_inputs) not in self._modules:
            source = self.find(name)
            if is_named_model(name):
                provided = self._provider_model(name, long_inputs)
                self._modules[name, long_inputs] = provided or self.named_model(name, long_inputs)
            else:
                module = check_module(_import(source, long_inputs), source.origin)
                self._configure(name, module, source, settings)
                self._modules[name, long_inputs] = module
        return self._modules[name, long_inputs]

    def _settings_of(self, name: str, long_inputs: LongInputs | None = None) -> dict[str, object]:
        """Return the settings of a model with the `long_inputs` of an entry; a chunk is a text of its own."""
        own: Mapping[str, object] = {}
        if is_named_model(name):
            name, own = split_model(name)
        settings = {**self._settings.get(name, {}), **own}
        if long_inputs == "mean":
            return {**settings, "long_inputs": long_inputs}
        if long_inputs is not None:
            settings.pop("long_inputs", None)
        return settings

    def named_model(self, model: str, long_inputs: LongInputs | None = None) -> "NamedModel":
        """Return a model by name; the settings next to its name take precedence over those of `models.settings`.

        Raises:
            ModelError: The text is not the name of a repository or a folder, or a setting is invalid.
        """
        # Imported here, because only models by name need it.
        from crdbvec_pipelines.encoding.models.named import NamedModel

        if not is_named_model(model):
            raise ModelError(f"{model!r} is not the id of a repository, as organization/model, nor a folder.")
        name, _ = split_model(model)
        if name.startswith(PROVIDER_PREFIX):
            raise ModelError(f"{name} is a model of a provider, which is requested and not downloaded.")
        named = NamedModel(name)
        named.embedding_configure(self._settings_of(model, long_inputs))
        return named

    def _provider_model(self, model: str, long_inputs: LongInputs | None = None) -> "ProviderModel | None":
        """Return a model of a provider; None for the name of a repository or a folder."""
        name, _ = split_model(model)
        if not name.startswith(PROVIDER_PREFIX):
            return None
        # Imported here, because only models of providers need it.
        from crdbvec_pipelines.encoding.models.provider_model import ProviderModel

        provided = ProviderModel(name)
        provided.embedding_configure(self._settings_of(model, long_inputs))
        return provided

    def _configure(self, name: str, module: ModelModule, source: ModelSource, settings: Mapping[str, object]) -> None:
        if hasattr(module, "embedding_configure"):
            try:
                module.embedding_configure(settings)
            except CrdbvecError:
                raise
            except (Exception, SystemExit) as error:
                raise ModelError(
                    f"The model {name} rejects its settings (models.settings.{name}): {type(error).__name__}: {error}"
                ) from error
        elif settings:
            raise ModelError(
                f"The model {name} has no settings, but models.settings.{name} contains "
                f"{', '.join(map(repr, settings))}. Remove them, or define embedding_configure in {source.origin}."
            )


def load_registry(config: ProjectConfig | None) -> ModelRegistry:
    """Return the registry of a configuration; without a configuration, the built-in models and the entry points."""
    models = config.models if config else ModelsSpec()
    return ModelRegistry(models.directories, models.settings)


def check_models(config: ProjectConfig, registry: ModelRegistry) -> None:
    """Check that the model of each configuration entry exists; no wrapper is imported.

    Raises:
        ConfigurationError: A model does not exist; the message names the entry.
    """
    for spec in config.vectors:
        try:
            registry.find(spec.model)
        except ModelError as error:
            raise ModelError(f"{spec.origin}.model: {error}") from None


def _import(source: ModelSource, variant: LongInputs | None = None) -> ModuleType:
    """Import a wrapper; with a variant another instance of it, because a wrapper has one configuration."""
    module_name = f"crdbvec_models.{source.name}" + (f"__{variant}" if variant else "")
    try:
        if source.path is None and variant is None:
            return importlib.import_module(source.module)
        path = source.path or getattr(importlib.util.find_spec(source.module), "origin", None)
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ModelError(f"{source.origin} is not a Python file that can be imported.")
        module = importlib.util.module_from_spec(spec)
        # The module must be in sys.modules while its code runs, because dataclasses and pickle look it up by name.
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    except ModelError:
        sys.modules.pop(module_name, None)
        raise
    except (Exception, SystemExit) as error:
        sys.modules.pop(module_name, None)
        raise ModelError(
            f"The model {source.name} cannot be imported from {source.origin}: {type(error).__name__}: {error}"
        ) from error
    return module


def _available_models(name: str, sources: Mapping[str, ModelSource]) -> str:
    similar = difflib.get_close_matches(name, sources, n=1)
    suggestion = f" Did you mean {similar[0]}?" if similar else ""
    return f"Available models: {', '.join(sorted(sources)) or 'none'}.{suggestion}"
