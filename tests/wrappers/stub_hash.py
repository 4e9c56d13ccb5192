"""A model with only the five required functions: eight numbers from the hash of the input, of any type."""

import hashlib
from collections.abc import Iterable
from typing import Any


def embedding_label() -> str:
    return "Hash of the input"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of the input. Equal inputs have equal vectors; they have no meaning."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    data = bytes(input_data) if isinstance(input_data, (bytes, memoryview)) else str(input_data).encode()
    return [byte / 128 - 1 for byte in hashlib.sha256(data).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    return [(key, embedding_encode(value)) for key, value in batch]
