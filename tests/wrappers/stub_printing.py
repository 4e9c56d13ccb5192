"""The hash model, which prints in every function if CRDBVEC_TEST_PRINTS is set: as Python, to the descriptor, and as C.

C code has a buffer of its own, which it writes when the process ends.
"""

import ctypes
import hashlib
import os
import sys
from collections.abc import Iterable
from typing import Any


def _print(function: str) -> None:
    if not os.environ.get("CRDBVEC_TEST_PRINTS"):
        return
    print(f"printed in {function}", flush=True)
    print(f"printed to the original in {function}", file=sys.__stdout__)
    os.write(1, f"written in {function}\n".encode())
    ctypes.CDLL(None).puts(f"put in {function}".encode())


def embedding_label() -> str:
    _print("embedding_label")
    return "Hash of the input, with output"


def embedding_description() -> str:
    _print("embedding_description")
    return "Eight numbers from the SHA-256 of the input; prints in every function."


def embedding_dim() -> int:
    _print("embedding_dim")
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    _print("embedding_encode")
    return [byte / 128 - 1 for byte in hashlib.sha256(str(input_data).encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    _print("embedding_encode_batch")
    return [(key, embedding_encode(value)) for key, value in batch]


_print("import")
