"""The backend for GPUs, and for processors without OpenVINO: sentence-transformers on PyTorch.

It computes in float32; on CUDA in float16 unless full precision is configured.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crdbvec_pipelines.encoding.backends import EncodedTexts, TokenCount
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# On a processor, the default of sentence-transformers. A GPU needs more rows per batch to be fully used.
_BATCH_ROWS = {"cpu": 32, "cuda": 256, "mps": 64}


class TorchBackend:
    """A `SentenceTransformer` with a lock, because neither its tokenizer nor a GPU is faster with several threads.

    Args:
        weights: The folder and the digest of the model.
        device: The device to compute on.
        threads: The number of processor threads; None uses PyTorch's default. It applies to the whole process.
        full_precision: Whether to use float32 on CUDA as well.

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

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts with `SentenceTransformer.encode`; see `Backend.encode`."""
        with self._lock:
            counts = self._counts(texts)
            vectors = self._model.encode(
                list(texts), batch_size=self._batch_rows, convert_to_numpy=True, show_progress_bar=False
            )
        return EncodedTexts(
            np.asarray(vectors, dtype=np.float32),
            np.array([count.total > (count.encoded or 0) for count in counts], dtype=np.bool_),
            np.array([count.unknown_share for count in counts], dtype=np.float32),
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return [count.total for count in self.tokens(texts)]

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; see `TokenCount`."""
        with self._lock:
            return self._counts(texts)

    def _counts(self, texts: Sequence[str]) -> list[TokenCount]:
        if not texts:
            return []
        tokenizer: Any = self._model.tokenizer
        unknown_id = tokenizer.unk_token_id
        # Some tokenizers name one of their markers as the unknown token and never use it for a part of a text.
        if unknown_id in {tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id}:
            unknown_id = None
        special_tokens = tokenizer.num_special_tokens_to_add()
        encoded = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [self._count(ids, unknown_id, special_tokens) for ids in encoded]

    def _count(self, ids: list[int], unknown_id: int | None, special_tokens: int) -> TokenCount:
        limit = self._model.max_seq_length
        encoded = len(ids) if limit is None else min(len(ids), limit)
        words = encoded - special_tokens
        unknown = 0 if unknown_id is None else ids[:encoded].count(unknown_id)
        return TokenCount(len(ids), encoded, unknown / words if words > 0 else 0.0)


def load_sentence_transformer(directory: Path, device: str) -> "SentenceTransformer":
    """Load a model folder without a progress bar and without requests to the hub.

    Raises:
        ModelError: The folder cannot be loaded, or the device does not exist.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    # Loading 100 tensors is fast, and its progress bar would interrupt that of the command.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(str(directory), device=device, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"PyTorch cannot load the model in {directory} on {device} ({type(error).__name__}: {error}). "
            "Check the model's settings `weights` and `device`."
        ) from error
