"""The counting model with a delay after each call, so that a test can kill the process while it works."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def embedding_label() -> str:
    return "Hash of the input, counted and slow"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of the input; writes one line to a file per call, then sleeps."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(str(input_data).encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    pairs = list(batch)
    line = json.dumps([str(value) for _, value in pairs]) + "\n"
    file = os.open(os.environ["CRDBVEC_TEST_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    time.sleep(0.05)
    # While this file exists, no call ends.
    while Path(f"{os.environ['CRDBVEC_TEST_CALLS']}.held").exists():
        time.sleep(0.05)
    return [(key, embedding_encode(value)) for key, value in pairs]
