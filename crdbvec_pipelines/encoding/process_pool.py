"""Encoding in several processes, for models that hold Python's interpreter lock while they encode.

Each process loads the model once. A process ends by itself when its parent has ended, so that a killed run leaves none.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.encoding.registry import ModelRegistry, RegistrySpecification

_encoder: Encoder | None = None


class ProcessPoolEncoder:
    """Encodes batches in several processes; used as a context manager, and from as many threads.

    Args:
        specification: What the registry of models is made from.
        column: The configuration entry, whose model encodes.
        processes: How many processes encode.
    """

    def __init__(self, specification: RegistrySpecification, column: VectorColumn, processes: int) -> None:
        threads = max(1, (os.cpu_count() or 1) // processes)
        self._model = column.model
        # Forking a process that has threads is unsafe, and the parent has them.
        self._pool = ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_load,
            initargs=(specification, column, threads),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        """Encode a batch in one of the processes; see `Encoder.encode`.

        Raises:
            EncoderUnavailable: A process ended unexpectedly, for example for lack of memory.
            EncodingError: As `Encoder.encode`.
        """
        try:
            return self._pool.submit(_encode, list(batch), batch_index).result()
        except BrokenProcessPool as error:
            raise EncoderUnavailable(
                f"A process that encoded with the model {self._model} ended unexpectedly. Lower `workers` or "
                "`batch_size` if the machine ran out of memory."
            ) from error


def _load(specification: RegistrySpecification, column: VectorColumn, threads: int) -> None:
    """Load the model in a new process, which ends with its parent."""
    global _encoder
    # Ctrl-C reaches the whole process group; the parent decides when its processes end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _encoder = ModelRegistry(specification.directories, specification.settings).encoder_of(column, threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _encode(batch: list[tuple[object, object]], batch_index: int) -> EncodedBatch:
    if _encoder is None:
        raise RuntimeError("the process has not loaded its model")
    return _encoder.encode(batch, batch_index)
