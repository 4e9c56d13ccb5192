"""The engine of last resort and the one for GPUs: sentence-transformers on PyTorch, float32 but for CUDA's float16."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# sentence-transformers' own default on a processor; a GPU needs more rows at once to be busy.
_BATCH_ROWS = {"cpu": 32, "cuda": 256, "mps": 64}


class TorchBackend:
    """A `SentenceTransformer` behind a lock: neither its tokenizer nor a GPU gains from several threads.

    Args:
        weights: The model's folder.
        device: Where to compute.
        threads: How many processor threads PyTorch may use; None leaves its default. PyTorch knows one number for the
            whole process.
        full_precision: Whether float32 is asked for on CUDA too.

    Raises:
        ModelError: The folder cannot be loaded, or the device does not exist.
    """

    def __init__(
        self,
        weights: Weights,
        device: Literal["auto", "cpu", "cuda", "mps"],
        threads: int | None = None,
        full_precision: bool = False,
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._model = load_sentence_transformer(weights.directory, device)
        if device == "cuda" and not full_precision:
            self._model.half()
        self._batch_rows = _BATCH_ROWS[device]
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Encode texts as `SentenceTransformer.encode` does; see `Backend.encode`."""
        with self._lock:
            truncated = np.array(self._lengths(texts), np.intp) > (self._model.max_seq_length or np.inf)
            vectors = self._model.encode(
                list(texts), batch_size=self._batch_rows, convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32), truncated

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of texts; see `Backend.count_tokens`."""
        with self._lock:
            return self._lengths(texts)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        tokens = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(ids) for ids in tokens]


def load_sentence_transformer(directory: Path, device: str) -> "SentenceTransformer":
    """Load a model's folder, quietly and without asking the hub.

    Raises:
        ModelError: It cannot be loaded, or the device does not exist.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    # Loading 100 tensors takes no time worth a progress bar in the middle of another one.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(str(directory), device=device, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"PyTorch cannot load the model in {directory} on {device}: {type(error).__name__}: {error}"
        ) from error
