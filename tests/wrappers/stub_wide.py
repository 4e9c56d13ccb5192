"""A model of another dimension than the other stubs: twelve numbers from the hash of the input."""

import hashlib
from collections.abc import Iterable
from typing import Any


def embedding_label() -> str:
    return "Twelve numbers from the hash of the input"


def embedding_description() -> str:
    return "Twelve numbers from the SHA-256 of the input, read backwards. They have no meaning."


def embedding_dim() -> int:
    return 12


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(str(input_data).encode()).digest()[::-1][:12]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    return [(key, embedding_encode(value)) for key, value in batch]
