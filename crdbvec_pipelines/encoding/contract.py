"""The functions of a model wrapper, and the check that a module defines them.

A wrapper is a module whose file name is the name of the model. Five functions are required, the others are optional.
`docs/models.md` describes how to write a wrapper. `registry` finds wrappers, `encoder` calls them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol, cast

from crdbvec_pipelines.config import Metric
from crdbvec_pipelines.encoding.backends import Backend, TokenCount
from crdbvec_pipelines.encoding.errors import InputRejected, ModelError

REQUIRED = (
    "embedding_label",
    "embedding_description",
    "embedding_dim",
    "embedding_encode",
    "embedding_encode_batch",
)


class ModelModule(Protocol):
    """The five required functions of a wrapper."""

    def embedding_label(self) -> str:
        """Return the line that the list of models shows."""
        ...

    def embedding_description(self) -> str:
        """Return a paragraph with dimension, language, limits and a link."""
        ...

    def embedding_dim(self) -> int:
        """Return the dimension of the vectors, if possible without loading the weights."""
        ...

    def embedding_encode(self, input_data: Any, verbose: bool = False) -> Sequence[float]:
        """Encode the input of one row; its type is that of the column."""
        ...

    def embedding_encode_batch(
        self, batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
    ) -> Iterable[tuple[Any, Sequence[float] | InputRejected]]:
        """Encode (key, input) pairs into (key, vector) pairs, in any order.

        For a row that the model rejects, the pair has an `InputRejected` in place of the vector.
        """
        ...


class OptionalFunctions(Protocol):
    """The optional functions of a wrapper; `encoder` supplies the defaults."""

    def embedding_metric(self) -> Metric:
        """Return the distance that the vectors are made for. Default: `cosine`."""
        ...

    def embedding_encode_query(self, text: str) -> Sequence[float]:
        """Encode a search query. Default: `embedding_encode`."""
        ...

    def embedding_id(self) -> str:
        """Return the model id, which changes whenever the vectors change. Default: the name of the model."""
        ...

    def embedding_configure(self, settings: Mapping[str, object]) -> None:
        """Receive the settings of the model before any other call. Default: the model has no settings."""
        ...

    def embedding_is_thread_safe(self) -> bool:
        """Return whether several threads may encode at the same time. Default: False; calls are serialized."""
        ...

    def embedding_tokens(self, texts: Sequence[str]) -> Sequence[TokenCount]:
        """Return the tokens of each text, if possible without the weights. Default: the backend counts them."""
        ...

    def embedding_token_spans(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        """Return start and end of each token of each text, without special tokens; only for `long_inputs: chunks`.

        Default: four characters of a word count as a token.
        """
        ...

    def embedding_backend(self, threads: int | None) -> Backend:
        """Return the loaded backend, which uses at most `threads` threads. Default: the other functions are called."""
        ...


def check_module(module: ModuleType, origin: str) -> ModelModule:
    """Check that a module is a model wrapper.

    Args:
        module: The imported module.
        origin: Its file or entry point, for the message.

    Returns:
        The same module, typed.

    Raises:
        ModelError: A required function is missing, or a name of the contract is not callable.
    """
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    if missing:
        raise ModelError(
            f"{origin} is not a model wrapper: it does not define {', '.join(missing)}. "
            f"Define all of {', '.join(REQUIRED)}."
        )
    optional = [name for name in vars(OptionalFunctions) if name.startswith("embedding_")]
    uncallable = [name for name in (*REQUIRED, *optional) if not callable(getattr(module, name, print))]
    if uncallable:
        raise ModelError(f"{origin} is not a model wrapper: {', '.join(uncallable)} must be a function.")
    return cast(ModelModule, module)
