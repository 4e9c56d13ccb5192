"""Loading a model folder with sentence-transformers safely and in float32.

Nothing is requested from the hub, no code of the folder runs, and no pickled file is read. Weights that are missing are
an error: transformers would replace them by random numbers.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from crdbvec_pipelines.encoding.errors import ModelError

M = TypeVar("M")

# Loading replaces a function of transformers for its duration.
_loading = threading.Lock()


def load_safely(
    directory: Path,
    device: str,
    load: Callable[[dict[str, Any]], M],
    is_unused: Callable[[M, str], bool] = lambda _model, _parameter: False,
    *,
    eager: bool = False,
) -> M:
    """Load a model without a progress bar, and check that all of its weights are in the folder.

    Args:
        directory: The folder.
        device: The device to compute on; for messages only.
        load: Loads the model with the given arguments of transformers' `from_pretrained`.
        is_unused: Whether a parameter of the model changes no result, so that it may be missing.
        eager: Whether attention is computed step by step, which can be converted; the fused kernels return NaN for the
            padded rows of a converted graph.

    Raises:
        ModelError: The folder cannot be loaded, weights are missing, or the device does not exist.
    """
    from transformers.utils.logging import disable_progress_bar

    # Loading 100 tensors is fast, and its progress bar would interrupt that of the command.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    # Parameters of another shape are reported below, together with the missing ones.
    options: dict[str, Any] = {"dtype": "float32", "use_safetensors": True, "ignore_mismatched_sizes": True}
    if eager:
        options["attn_implementation"] = "eager"
    try:
        with _recorded_loading() as records:
            model = load(options)
    except Exception as error:
        raise ModelError(
            f"PyTorch cannot load the model in {directory} on {device} ({type(error).__name__}: {error}). "
            "Check the model's settings `weights` and `device`."
        ) from error
    missing = [key for key in _random_parameters(records) if not is_unused(model, key)]
    if missing:
        raise ModelError(
            f"The weights in {directory} are incomplete: {len(missing):,} parameters of the model are missing or have "
            f"another shape, such as {sorted(missing)[0]}. They would be random numbers. Use a complete model folder."
        )
    return model


@contextmanager
def _recorded_loading() -> Iterator[list[dict[str, Any]]]:
    """Record what transformers reports about the weights that it loads; sentence-transformers does not ask for it."""
    from transformers import PreTrainedModel

    records: list[dict[str, Any]] = []
    original: Any = PreTrainedModel.__dict__["from_pretrained"]

    def recording(cls: Any, *arguments: Any, **options: Any) -> Any:
        model, record = original.__func__(cls, *arguments, **{**options, "output_loading_info": True})
        records.append(record)
        return model

    with _loading:
        PreTrainedModel.from_pretrained = classmethod(recording)  # type: ignore[method-assign, assignment]
        try:
            yield records
        finally:
            PreTrainedModel.from_pretrained = original  # type: ignore[method-assign]


def _random_parameters(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the parameters that are not in the files, or have another shape there."""
    # A parameter of another shape is reported with both shapes.
    other_shapes = [key if isinstance(key, str) else key[0] for record in records for key in record["mismatched_keys"]]
    return [*(key for record in records for key in record["missing_keys"]), *other_shapes]
