"""The engine for x86 processors: OpenVINO on token batches of similar length, several in flight.

A process that finds the converted model in the cache imports neither torch nor sentence-transformers, so that it is
ready in well under a second. What is converted, and when it may be, is in `openvino_model`.
"""

import contextlib
import queue
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.backends.batching import plan_batches
from crdbvec_pipelines.encoding.backends.openvino_model import MODEL, REFUSED, converted
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Tokens a batch holds: enough for the matrix kernels, and few enough to stay in a core's own cache. Twice as many were
# no faster for glosses (benchmarks/encode.py).
_BATCH_TOKENS = 512
# A second request for each stream is filled and waiting when the first is done.
_REQUESTS_PER_STREAM = 2
# How far a vector may be from PyTorch's, in lengths of that one; between vectors of length 1 it is a cosine of 0.9999.
_FAITHFUL_DISTANCE = 0.01414
# For the check: both ends of the window, and what tokenizers differ about (case, accents, scripts, blanks, digits).
_SAMPLES = (
    "",
    "Entity.",
    "that which is perceived or known or inferred to have its own distinct existence (living or nonliving)",
    "  The CRÈME brûlée of São Paulo,\tnaïve façade; don't  ",
    "東京 is Japan's capital; Москва, Ελλάδα, ქართული, مرحبا",
    "0123 4.56e-7 #hashtag @user https://example.org/a?b=c <html> {} 🙂",
    "a long text that goes on " * 400,
)

_Running = deque[tuple[Any, NDArray[np.intp]]]


class UnfaithfulConversion(Exception):
    """The converted model gives other vectors than PyTorch; the message says how."""


class OpenVinoBackend:
    """A converted model with its tokenizer; threads that encode at once share its requests.

    Args:
        weights: The model's folder.
        pipeline: What the folder says of itself; `openvino_model.unsupported` must have nothing against it.
        threads: How many processor threads to use at most; None leaves it to OpenVINO, which takes every core.

    Raises:
        UnfaithfulConversion: The model's vectors would not be those of PyTorch.
        ModelError: The model cannot be loaded or converted, or the cache folder cannot be written.
    """

    def __init__(self, weights: Weights, pipeline: Pipeline, threads: int | None = None) -> None:
        self._tokenizer = TextTokenizer(weights.directory, pipeline)
        self._threads = threads
        folder = converted(weights, self._difference)
        if (folder / REFUSED).is_file():
            raise UnfaithfulConversion((folder / REFUSED).read_text(encoding="utf-8"))
        self._compile(folder / MODEL)

    def _compile(self, model: Any) -> None:
        import openvino

        core = openvino.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            # Where the processor multiplies in bfloat16, sums stay in float32 and vectors move by less than 1e-4 in
            # cosine; float16 and int8 are never used.
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            # Pinning counts cores from the first in every process: two workers would sit on the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        if self._threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        try:
            compiled = core.compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {model}. Delete that folder, and it is made again.") from error
        streams = compiled.get_property("NUM_STREAMS")
        self._dim = compiled.output(0).get_partial_shape()[1].get_length()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams * _REQUESTS_PER_STREAM):
            self._requests.put(compiled.create_infer_request())

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Encode texts; see `Backend.encode`."""
        tokens = self._tokenizer.tokenize(texts)
        vectors = np.empty((len(texts), self._dim), np.float32)
        running: _Running = deque()
        try:
            for positions in plan_batches(tokens.lengths, _BATCH_TOKENS):
                inputs = self._tokenizer.pad([tokens.ids[position] for position in positions])
                running.append((self._free_request(running, vectors), positions))
                running[-1][0].start_async(inputs)
            while running:
                self._collect(running, vectors)
        finally:
            # After an error: a request goes back only when it has finished, whatever came of it.
            for request, _ in running:
                with contextlib.suppress(RuntimeError):
                    request.wait()
                self._requests.put(request)
        return vectors, tokens.truncated

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of texts; see `Backend.count_tokens`."""
        return self._tokenizer.count(texts)

    def _free_request(self, running: _Running, vectors: Vectors) -> Any:
        """Return a request that nobody uses; wait for other threads only when this one has none running itself."""
        while True:
            try:
                return self._requests.get(block=not running)
            except queue.Empty:
                self._collect(running, vectors)

    def _collect(self, running: _Running, vectors: Vectors) -> None:
        """Wait for the oldest batch, put its vectors where they belong and give its request back."""
        request, positions = running.popleft()
        try:
            request.wait()
            vectors[positions] = request.get_output_tensor(0).data
        finally:
            self._requests.put(request)

    def _difference(self, graph: Any, original: "SentenceTransformer") -> str | None:
        """Say how far a conversion's vectors are from PyTorch's for the samples, or None when they are near enough."""
        self._compile(graph)
        vectors, _ = self.encode(_SAMPLES)
        expected = original.encode(list(_SAMPLES), show_progress_bar=False)
        distances = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)
        # Not written as a comparison that NaN would pass.
        if (distances <= _FAITHFUL_DISTANCE).all():
            return None
        return f"OpenVINO's vectors differ from PyTorch's by up to {distances.max():.4f} of their length"
