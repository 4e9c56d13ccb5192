"""What a model wrapper must look like, and the check that a loaded module does.

A wrapper is a module whose file name is the model's name. Five functions are required, and a wrapper written for
those alone works; the rest are optional. How to write one is in `docs/models.md`. Calling a wrapper is `encoder`'s
affair, finding one is `registry`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

from crdbvec_pipelines.encoding.backends import Backend
from crdbvec_pipelines.encoding.errors import ModelError

Metric = Literal["cosine", "l2", "ip"]
METRICS: tuple[str, ...] = get_args(Metric)

REQUIRED = (
    "embedding_label",
    "embedding_description",
    "embedding_dim",
    "embedding_encode",
    "embedding_encode_batch",
)


class ModelModule(Protocol):
    """The five functions that every wrapper has."""

    def embedding_label(self) -> str:
        """Return one line for the list of models."""
        ...

    def embedding_description(self) -> str:
        """Return a paragraph: dimension, language, limits, link."""
        ...

    def embedding_dim(self) -> int:
        """Return the vectors' dimension, without loading the weights where that is possible."""
        ...

    def embedding_encode(self, input_data: Any, verbose: bool = False) -> Sequence[float]:
        """Encode the input of one row, of whatever type its column holds."""
        ...

    def embedding_encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
    ) -> Iterable[tuple[Any, Sequence[float]]]:
        """Encode (key, input) pairs into (key, vector) pairs, in any order."""
        ...


class OptionalFunctions(Protocol):
    """The functions that a wrapper may have; each has a default that `encoder` supplies."""

    def embedding_metric(self) -> Metric:
        """Return the distance that the vectors are made for. Default: cosine."""
        ...

    def embedding_encode_query(self, text: str) -> Sequence[float]:
        """Encode what is searched for. Default: `embedding_encode`."""
        ...

    def embedding_id(self) -> str:
        """Return what tells this model's vectors from another's (name, revision, normalisation). Default: the name."""
        ...

    def embedding_configure(self, settings: Mapping[str, object]) -> None:
        """Take the model's settings, before any other function that depends on them. Default: there are none."""
        ...

    def embedding_is_thread_safe(self) -> bool:
        """Say whether several threads may encode at once. Default: no, and calls are made one after the other."""
        ...

    def embedding_backend(self, threads: int | None) -> Backend:
        """Return the loaded engine, for at most so many processor threads. Default: the five functions are called."""
        ...


def check_module(module: ModuleType, origin: str) -> ModelModule:
    """Check that a module is a model wrapper.

    Args:
        module: The loaded module.
        origin: The file or entry point it came from, for the message.

    Returns:
        The same module, typed.

    Raises:
        ModelError: A required function is missing, or a name of the contract is not a function.
    """
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    if missing:
        raise ModelError(
            f"{origin} is not a model: it lacks {', '.join(missing)}. "
            "A model wrapper defines all of " + ", ".join(REQUIRED) + "."
        )
    optional = [name for name in vars(OptionalFunctions) if name.startswith("embedding_")]
    uncallable = [name for name in (*REQUIRED, *optional) if not callable(getattr(module, name, print))]
    if uncallable:
        raise ModelError(f"{origin} is not a model: {', '.join(uncallable)} must be a function.")
    return cast(ModelModule, module)
