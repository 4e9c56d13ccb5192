"""The backend for x86 processors: OpenVINO, with several batches of similar length in flight.

This module imports neither torch nor sentence-transformers, so a process is ready in well under a second.
`openvino_model` provides the converted model.
"""

import contextlib
import queue
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import EncodedTexts, TokenCount, Vectors
from crdbvec_pipelines.encoding.backends.batching import split_into_batches
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.errors import ModelError

Precision = Literal["bf16", "f32"]

# Tokens per batch: enough for the matrix kernels, and few enough to fit into the cache of one core. Twice as many were
# not faster for glosses of 19 tokens.
_BATCH_TOKENS = 512
# While one request of a stream runs, a second one is ready to start.
_REQUESTS_PER_STREAM = 2

# Started requests, each with the positions of its texts.
_Running = deque[tuple[Any, NDArray[np.intp]]]


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which is sent when the package is imported and at each conversion."""
    name = "openvino_telemetry"
    if "openvino" not in sys.modules and name not in sys.modules:
        # The import of a module that is None fails; OpenVINO then uses its own stub.
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[name]
    import openvino

    return openvino


class OpenVinoBackend:
    """A compiled model with its tokenizer; concurrent calls of `encode` share the inference requests.

    Args:
        model: The path of a converted model, or an `openvino.Model`. Its inputs are token ids and attention mask, its
            output is sentence vectors.
        tokenizer: The tokenizer of the model.
        precision: The number format of matrix products. With bf16, sums stay in float32.
        threads: The maximum number of processor threads; None uses OpenVINO's default, all cores.
        cache: The folder in which OpenVINO stores the compiled model and finds it the next time.

    Raises:
        ModelError: The model cannot be loaded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: TextTokenizer,
        precision: Precision,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        openvino = import_openvino()
        self._tokenizer = tokenizer
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": precision,
            # Pinning assigns cores from the first one in every process, so two workers would share the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        try:
            compiled = openvino.Core().compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot load {model}. Delete the folder of this file; the next run converts the model again."
            ) from error
        self._dim: int = compiled.output(0).get_partial_shape()[1].get_length()
        # A model that reads no mask of the padding has one input.
        self._inputs = len(compiled.inputs)
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(compiled.get_property("NUM_STREAMS") * _REQUESTS_PER_STREAM):
            self._requests.put(compiled.create_infer_request())

    def encode(self, texts: Sequence[str], prompt: str = "", batch_tokens: int = _BATCH_TOKENS) -> EncodedTexts:
        """Encode texts; see `Backend.encode`.

        Args:
            texts: The texts.
            prompt: The text that is put before each of them.
            batch_tokens: The maximum number of tokens of a batch, padding included.

        Returns:
            The vectors; NaN for a text without tokens.
        """
        tokens = self._tokenizer.tokenize([prompt + text for text in texts] if prompt else texts)
        vectors = np.full((len(texts), self._dim), np.nan, np.float32)
        (positions_with_tokens,) = np.nonzero(tokens.lengths)
        running: _Running = deque()
        try:
            for batch in split_into_batches(tokens.lengths[positions_with_tokens], batch_tokens):
                positions = positions_with_tokens[batch]
                inputs = self._tokenizer.pad([tokens.ids[position] for position in positions])
                running.append((self._free_request(running, vectors), positions))
                running[-1][0].start_async(inputs[: self._inputs])
            while running:
                self._collect(running, vectors)
        finally:
            # After an error, requests are still running. Each is released only when it has finished.
            for request, _ in running:
                with contextlib.suppress(RuntimeError):
                    request.wait()
                self._requests.put(request)
        return EncodedTexts(vectors, tokens.truncated, tokens.unknown_shares, tokens=int(tokens.lengths.sum()))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text; see `Backend.count_tokens`."""
        return self._tokenizer.count(texts)

    def tokens(self, texts: Sequence[str]) -> list[TokenCount]:
        """Return the tokens of each text; see `TokenCount`."""
        return self._tokenizer.token_counts(texts)

    def _free_request(self, running: _Running, vectors: Vectors) -> Any:
        """Return a free request; block for other threads only if this thread has no request running."""
        while True:
            try:
                return self._requests.get(block=not running)
            except queue.Empty:
                self._collect(running, vectors)

    def _collect(self, running: _Running, vectors: Vectors) -> None:
        """Wait for the oldest batch, store its vectors and release its request."""
        request, positions = running.popleft()
        try:
            request.wait()
            vectors[positions] = request.get_output_tensor(0).data
        finally:
            self._requests.put(request)
