"""The backend for GPUs, and for processors without OpenVINO: sentence-transformers on PyTorch.

It computes in float32; on CUDA with half of the bits if the vectors stay right, unless full precision is configured.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import EncodedTexts, TokenCount
from crdbvec_pipelines.encoding.backends.reduced_precision import load_reduced
from crdbvec_pipelines.encoding.backends.sentence_model import (
    as_inputs,
    first_module,
    load_sentence_transformer,
    role_arguments,
)
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.weights import Weights

# On a processor, the default of sentence-transformers. A GPU needs more rows per batch to be fully used.
_BATCH_ROWS = {"cpu": 32, "cuda": 256, "mps": 64}


class TorchBackend:
    """A `SentenceTransformer` with a lock, because neither its tokenizer nor a GPU is faster with several threads.

    It does what `SentenceTransformer.encode` does, with two differences: the tokens of a text are also counted, without
    a second pass over all texts; and the results stay on the device until all batches are launched, so that a GPU
    computes one batch while the next is tokenized.

    Args:
        weights: The folder and the digest of the model.
        device: The device to compute on.
        threads: The number of processor threads; None uses PyTorch's default. It applies to the whole process.
        full_precision: Whether to use float32 on CUDA as well.
        variant: What is changed about the model.
        role: The role of the texts, for a model that encodes queries in another way.
        batch: The number of texts that are encoded at the same time; None for the default of the device.

    Raises:
        ModelError: The folder cannot be loaded, or the device does not exist.
    """

    def __init__(
        self,
        weights: Weights,
        device: Literal["auto", "cpu", "cuda", "mps"],
        threads: int | None = None,
        full_precision: bool = False,
        variant: Variant | None = None,
        role: Role = "document",
        batch: int | None = None,
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        if device == "cuda" and not full_precision:
            self._model = load_reduced(weights, device, variant, role)
        else:
            self._model = load_sentence_transformer(weights.directory, device, variant)
        self._module = first_module(self._model, role)
        self._task = role_arguments(self._model, role)
        self._batch_rows = batch or _BATCH_ROWS[device]
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], prompt: str = "") -> EncodedTexts:
        """Encode texts with the vectors of `SentenceTransformer.encode`; see `Backend.encode`."""
        if not texts:
            return EncodedTexts(np.empty((0, 0), np.float32), np.zeros(0, np.bool_), np.zeros(0, np.float32))
        import torch

        # The longest first, as sentence-transformers: texts of similar length need little padding.
        order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))
        vectors: list[Any] = []
        truncated = np.zeros(len(texts), np.bool_)
        unknown_shares = np.zeros(len(texts), np.float32)
        tokens = 0
        with self._lock, torch.inference_mode():
            for start in range(0, len(order), self._batch_rows):
                positions = order[start : start + self._batch_rows]
                batch = [texts[position] for position in positions]
                inputs = as_inputs(self._model, batch)
                features = self._model.preprocess(inputs, prompt=prompt or None, **self._task)
                if "attention_mask" in features:
                    truncated[positions], unknown_shares[positions] = self._read(features, batch, prompt)
                    tokens += int(features["attention_mask"].sum())
                vectors.append(self._forward(features))
            in_order = torch.cat(vectors).float().cpu().numpy()
        sorted_back = np.empty_like(in_order)
        sorted_back[order] = in_order
        return EncodedTexts(sorted_back, truncated, unknown_shares, tokens=tokens)

    def _forward(self, features: Mapping[str, Any]) -> Any:
        """Return the vectors of a batch as a tensor on the device."""
        from sentence_transformers.util import batch_to_device

        on_device = batch_to_device(dict(features), self._model.device)
        return self._model(on_device, **self._task)["sentence_embedding"]

    def _read(
        self, features: Mapping[str, Any], texts: list[str], prompt: str
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which texts of a batch are truncated, and the share of unknown tokens of each."""
        ids, mask = features["input_ids"].numpy(), features["attention_mask"].numpy().astype(bool)
        encoded = mask.sum(axis=1)
        truncated = np.zeros(len(texts), np.bool_)
        limit = self._limit
        if limit is not None:
            # Only a text that fills the window may be longer.
            (full,) = np.nonzero(encoded >= limit)
            if len(full):
                counts = self._counts([prompt + texts[position] for position in full])
                truncated[full] = [count.total > limit for count in counts]
        words = encoded - self._special_tokens
        unknown = ((ids == self._unknown_id) & mask).sum(axis=1) if self._unknown_id is not None else 0 * encoded
        return truncated, np.divide(unknown, words, out=np.zeros(len(texts)), where=words > 0).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return [count.total for count in self.tokens(texts)]

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; see `TokenCount`."""
        with self._lock:
            return self._counts(texts)

    @property
    def _limit(self) -> int | None:
        limit: int | None = self._module.max_seq_length
        return limit

    @cached_property
    def _unknown_id(self) -> int | None:
        """The id of unknown tokens; None if the tokenizer has none."""
        tokenizer: Any = self._module.tokenizer
        unknown: int | None = tokenizer.unk_token_id
        # Some tokenizers name one of their markers as the unknown token and never use it for a part of a text.
        markers = {tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id}
        return None if unknown in markers else unknown

    @cached_property
    def _special_tokens(self) -> int:
        tokenizer: Any = self._module.tokenizer
        return int(tokenizer.num_special_tokens_to_add())

    def _counts(self, texts: Sequence[str]) -> list[TokenCount]:
        if not texts:
            return []
        tokenizer: Any = self._module.tokenizer
        encoded = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [self._count(ids) for ids in encoded]

    def _count(self, ids: list[int]) -> TokenCount:
        limit = self._limit
        encoded = len(ids) if limit is None else min(len(ids), limit)
        words = encoded - self._special_tokens
        unknown = 0 if self._unknown_id is None else ids[:encoded].count(self._unknown_id)
        return TokenCount(len(ids), encoded, unknown / words if words > 0 else 0.0)
