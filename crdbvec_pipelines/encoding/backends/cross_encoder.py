"""A cross-encoder: a model that reads two texts together and returns how well the second one answers the first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends.loading import load_safely
from crdbvec_pipelines.encoding.backends.sentence_model import as_inputs
from crdbvec_pipelines.encoding.errors import ModelError


class CrossEncoderBackend:
    """A loaded cross-encoder, computed by PyTorch in float32.

    Args:
        directory: The model folder.
        device: The device to compute on.
        max_tokens: The maximum number of tokens of both texts together; None for that of the model.
        batch: The number of pairs that are computed at the same time.

    Raises:
        ModelError: The folder cannot be loaded, weights are missing, or the model returns more than one number.
    """

    def __init__(self, directory: Path, device: str, max_tokens: int | None, batch: int) -> None:
        from sentence_transformers import CrossEncoder

        def load(options: dict[str, Any]) -> Any:
            return CrossEncoder(
                str(directory), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=options
            )

        self._model: CrossEncoder = load_safely(directory, device, load)
        if self._model.num_labels != 1:
            raise ModelError(
                f"The cross-encoder in {directory} returns {self._model.num_labels} numbers for a pair of texts, and "
                "an order needs one. Choose a model for ranking, such as those for MS MARCO."
            )
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
        self._model.eval()
        self._batch = batch

    def relevance(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how relevant each text is for a query, shape (texts,), in the unit of the model; more is better.

        Raises:
            ModelError: The model returns something that is not a number.
        """
        first, *others = as_inputs(self._model, [query, *texts])
        pairs: Any = [(first, other) for other in others]
        found = np.asarray(
            self._model.predict(pairs, batch_size=self._batch, show_progress_bar=False), dtype=np.float32
        ).reshape(len(texts))
        if not np.isfinite(found).all():
            raise ModelError("The cross-encoder computes scores that are not numbers (NaN). Its weights are damaged.")
        return found
