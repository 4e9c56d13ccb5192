"""Finding model wrappers by name, and loading each once.

Where wrappers may lie is in `sources`, what one must define in `contract`, how it is called in `encoder`.
"""

import difflib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType

from crdbvec_pipelines.encoding.contract import check_module
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.sources import ModelSource, discover
from crdbvec_pipelines.errors import CrdbvecError


class ModelRegistry:
    """The models that one configuration can use.

    Args:
        directories: Folders of wrappers, searched before the built-in ones and the installed entry points.
        settings: Per model name, what its wrapper's `embedding_configure` is given.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._directories = tuple(directories)
        self._settings = dict(settings or {})
        self._encoders: dict[tuple[str, int | None], Encoder] = {}
        self._modules: dict[str, ModuleType] = {}
        self._lock = threading.RLock()

    @cached_property
    def _sources(self) -> dict[str, ModelSource]:
        sources = discover(self._directories)
        for name in self._settings:
            if name not in sources:
                raise ModelError(
                    f"There are settings for the model {name!r}, and no such model. {_advice(name, sources)}"
                )
        return sources

    def names(self) -> list[str]:
        """Return the names of all models, sorted.

        Raises:
            ModelError: A folder of models does not exist, or there are settings for an unknown model.
        """
        return sorted(self._sources)

    def find(self, name: str) -> ModelSource:
        """Locate a model's wrapper without importing it, so that a configuration is checked in no time.

        Raises:
            ModelError: There is no such model; the message lists those there are and suggests the nearest.
        """
        try:
            return self._sources[name]
        except KeyError:
            raise ModelError(f"There is no model {name!r}. {_advice(name, self._sources)}") from None

    def load(self, name: str, threads: int | None = None) -> Encoder:
        """Import a model's wrapper, hand it its settings and return its encoder; the weights are not loaded yet.

        Args:
            name: The model's name.
            threads: How many processor threads the model may use, for a caller who runs several; None leaves it to
                the model.

        Returns:
            The encoder: the same one for the same arguments.

        Raises:
            ModelError: The model is unknown, or its wrapper cannot be imported, is incomplete or refuses its settings.
        """
        with self._lock:
            encoder = self._encoders.get((name, threads))
            if encoder is None:
                encoder = self._encoders[name, threads] = Encoder(name, self._module(name), threads)
            return encoder

    def _module(self, name: str) -> ModuleType:
        if name not in self._modules:
            source = self.find(name)
            module = _import(source)
            check_module(module, source.origin)
            self._configure(name, module, source)
            self._modules[name] = module
        return self._modules[name]

    def _configure(self, name: str, module: ModuleType, source: ModelSource) -> None:
        settings = self._settings.get(name, {})
        if hasattr(module, "embedding_configure"):
            try:
                module.embedding_configure(settings)
            except CrdbvecError:
                raise
            except Exception as error:
                raise ModelError(
                    f"The model {name} refuses its settings (models.settings.{name}): {type(error).__name__}: {error}"
                ) from error
        elif settings:
            raise ModelError(
                f"The model {name} takes no settings, and was given {', '.join(map(repr, settings))}: "
                f"remove them, or define embedding_configure in {source.origin}."
            )


def _import(source: ModelSource) -> ModuleType:
    module_name = f"crdbvec_models.{source.name}"
    try:
        if source.path is None:
            return importlib.import_module(source.module)
        spec = importlib.util.spec_from_file_location(module_name, source.path)
        if spec is None or spec.loader is None:
            raise ModelError(f"{source.origin} cannot be loaded as a Python file.")
        module = importlib.util.module_from_spec(spec)
        # A module must be in sys.modules while it runs: dataclasses and pickle look it up by name.
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    except ModelError:
        sys.modules.pop(module_name, None)
        raise
    except Exception as error:
        sys.modules.pop(module_name, None)
        raise ModelError(
            f"The model {source.name} cannot be imported from {source.origin}: {type(error).__name__}: {error}"
        ) from error
    return module


def _advice(name: str, sources: Mapping[str, ModelSource]) -> str:
    near = difflib.get_close_matches(name, sources, n=1)
    suggestion = f" Did you mean {near[0]}?" if near else ""
    return f"Models: {', '.join(sorted(sources)) or 'none'}.{suggestion}"
