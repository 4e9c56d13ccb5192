"""Where batches are encoded: in this process, or in several for models written in Python that use one core only."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crdbvec_pipelines.config import Executor, VectorColumn
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.process_pool import ProcessPoolEncoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.refresh.engine import BatchEncoder


class LimitedEncoder:
    """An encoder for several refreshes at the same time, which together encode at most `workers` batches at once.

    Args:
        encoder: What encodes.
        limit: The semaphore that the refreshes share.
    """

    def __init__(self, encoder: BatchEncoder, limit: threading.BoundedSemaphore) -> None:
        self.encoder = encoder
        self._limit = limit

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Encode a batch when fewer than `workers` batches are being encoded; see `Encoder.encode`."""
        with self._limit:
            return self.encoder.encode(batch, batch_index)


@contextmanager
def open_batch_encoder(
    registry: ModelRegistry, column: VectorColumn, executor: Executor, workers: int
) -> Iterator[LimitedEncoder]:
    """Yield the encoder of a configuration entry for a number of workers.

    With `auto`, several processes are used for a model that neither brings an engine, which uses all cores from one
    process, nor says that several threads may call it.

    Args:
        registry: The models.
        column: The configuration entry.
        executor: Where to encode.
        workers: How many batches are encoded at the same time.
    """
    encoder = registry.encoder_of(column)
    limit = threading.BoundedSemaphore(workers)
    several = executor == "multiprocess" or (executor == "auto" and not encoder.runs_in_parallel)
    if workers == 1 or not several:
        yield LimitedEncoder(encoder, limit)
        return
    with ProcessPoolEncoder(registry.specification, column, workers) as pool:
        yield LimitedEncoder(pool, limit)
