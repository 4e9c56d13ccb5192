"""The hash model, which writes the inputs of each call to the file CRDBVEC_TEST_CALLS, one JSON list per line.

The process of each call is written to the file next to it whose name ends in .processes.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any


def embedding_label() -> str:
    return "Hash of the input, counted"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of the input; writes one line to a file per call."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    data = bytes(input_data) if isinstance(input_data, (bytes, memoryview)) else str(input_data).encode()
    return [byte / 128 - 1 for byte in hashlib.sha256(data).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    pairs = list(batch)
    log = os.environ["CRDBVEC_TEST_CALLS"]
    _append(log, json.dumps([str(value) for _, value in pairs]))
    _append(f"{log}.processes", str(os.getpid()))
    return [(key, embedding_encode(value)) for key, value in pairs]


def _append(path: str, line: str) -> None:
    # A single write in append mode, so that the lines of several processes are not interleaved.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)
