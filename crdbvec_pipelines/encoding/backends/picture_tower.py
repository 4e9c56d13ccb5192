"""The backend for pictures of a multimodal model: decoding next to encoding, and the tower of the model for pictures.

Pictures are decoded by `encoding.pictures`, which judges format and size, and are given to sentence-transformers as
decoded pictures only: it would open a path or a URL.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from crdbvec_pipelines.encoding.backends import EncodedTexts
from crdbvec_pipelines.encoding.backends.sentence_model import load_sentence_transformer, role_arguments
from crdbvec_pipelines.encoding.backends.variant import Variant
from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.picture_inputs import PictureInputs
from crdbvec_pipelines.encoding.picture_summary import PictureSize, PictureSummary

if TYPE_CHECKING:
    from PIL.Image import Image

    _Decoded: TypeAlias = tuple[Image, str, PictureSize]

# Pictures that are encoded at the same time; at 1,024 pixels per side, they take 64 MB while they are prepared.
_BATCH_PICTURES = 16
# One thread decodes while the model computes. A second one would hold a second large picture in memory.
_DECODING_THREADS = 1
# Pictures that are named by rows are read by several threads, because a download mostly waits. One at a time decodes.
_READING_THREADS = 4


class PictureTower:
    """The tower for pictures, with a lock; its vectors are comparable with those of the tower for texts.

    Args:
        directory: The model folder.
        dim: The dimension of the vectors.
        device: The device to compute on.
        variant: What is changed about the model.
        inputs: Reads the pictures.
        batch: The number of pictures that are encoded at the same time; None for the default.
    """

    def __init__(
        self,
        directory: Path,
        dim: int,
        device: str,
        variant: Variant,
        inputs: PictureInputs,
        batch: int | None = None,
    ) -> None:
        self._model = load_sentence_transformer(directory, device, variant)
        self._dim = dim
        self._inputs = inputs
        self._batch = batch or _BATCH_PICTURES
        self._lock = threading.Lock()

    def encode(self, contents: Sequence[object]) -> EncodedTexts:
        """Encode the contents of image files, or what texts name; a picture that cannot be used is a failure."""
        failures: dict[int, InputRejected] = {}
        parts: list[tuple[list[int], Any]] = []
        positions: list[int] = []
        pictures: list[Image] = []
        formats: Counter[str] = Counter()
        sizes: list[PictureSize] = []
        for position, decoded in enumerate(self._decoded(contents)):
            if isinstance(decoded, InputRejected):
                failures[position] = decoded
            else:
                picture, file_format, size = decoded
                positions.append(position)
                pictures.append(picture)
                formats[file_format] += 1
                sizes.append(size)
            if len(pictures) == self._batch:
                parts.append((positions, self._vectors(pictures)))
                positions, pictures = [], []
        if pictures:
            parts.append((positions, self._vectors(pictures)))
        # The rows of failures are not read; they are not zero, which would be another failure.
        vectors = np.ones((len(contents), self._dim), np.float32)
        for rows, values in parts:
            vectors[rows] = values
        summary = PictureSummary(dict(formats), sizes=tuple(sizes))
        return EncodedTexts(vectors, np.zeros(len(contents), np.bool_), None, failures, pictures=summary)

    def _decoded(self, contents: Sequence[object]) -> "Iterator[_Decoded | InputRejected]":
        """Yield the decoded pictures in order, decoded in another thread at most one batch ahead."""
        waiting: deque[Future[_Decoded | InputRejected]] = deque()
        threads = _DECODING_THREADS if self._inputs.locations is None else _READING_THREADS
        with ThreadPoolExecutor(threads, thread_name_prefix="crdbvec-decode") as pool:
            for content in contents:
                waiting.append(pool.submit(self._decode, content))
                if len(waiting) >= self._batch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _decode(self, content: object) -> "_Decoded | InputRejected":
        try:
            return self._inputs.read(content)
        except InputRejected as error:
            return error

    def _vectors(self, pictures: "Sequence[Image]") -> Any:
        import torch
        from sentence_transformers.util import batch_to_device

        arguments = role_arguments(self._model, "document")
        with self._lock, torch.inference_mode():
            features = self._model.preprocess([{"image": picture} for picture in pictures], **arguments)
            on_device = batch_to_device(features, self._model.device)
            return self._model(on_device, **arguments)["sentence_embedding"].float().cpu().numpy()
