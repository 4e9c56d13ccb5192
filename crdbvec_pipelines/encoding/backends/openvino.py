"""The engine for x86 processors: OpenVINO on token batches of similar length, several in flight.

Neither torch nor sentence-transformers is imported here, so that a process is ready in well under a second. Where the
converted model comes from is in `openvino_model`.
"""

import contextlib
import queue
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.backends.batching import plan_batches
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.errors import ModelError

Precision = Literal["bf16", "f32"]

# Tokens a batch holds: enough for the matrix kernels, and few enough to stay in a core's own cache. Twice as many were
# no faster for glosses of 19 tokens.
_BATCH_TOKENS = 512
# A second request for each stream is filled and waiting when the first is done.
_REQUESTS_PER_STREAM = 2

_Running = deque[tuple[Any, NDArray[np.intp]]]


class OpenVinoBackend:
    """A compiled model with its tokenizer; threads that encode at once share its requests.

    Args:
        model: The path of a converted model, or the model itself (an `openvino.Model`): token numbers and mask in,
            sentence vectors out.
        tokenizer: The tokenizer that goes with it.
        precision: What matrices are multiplied in. With bf16, sums stay in float32.
        threads: How many processor threads to use at most; None leaves it to OpenVINO, which takes every core.
        compiled: A folder for what OpenVINO makes of the model at `model`, which it finds there the next time.

    Raises:
        ModelError: The model cannot be loaded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: TextTokenizer,
        precision: Precision,
        threads: int | None = None,
        compiled: Path | None = None,
    ) -> None:
        import openvino

        self._tokenizer = tokenizer
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": precision,
            # Pinning counts cores from the first in every process: two workers would sit on the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        if compiled is not None:
            properties["CACHE_DIR"] = str(compiled)
        try:
            network = openvino.Core().compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {model}. Delete its folder, and it is made again.") from error
        self._dim: int = network.output(0).get_partial_shape()[1].get_length()
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(network.get_property("NUM_STREAMS") * _REQUESTS_PER_STREAM):
            self._requests.put(network.create_infer_request())

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
