"""A model of the same dimension as `stub_hash`, with other vectors."""

import hashlib
from collections.abc import Iterable
from typing import Any


def embedding_label() -> str:
    return "Another hash of the input"


def embedding_description() -> str:
    return "Eight numbers from the MD5 of the input. They have no meaning."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    digest = hashlib.md5(str(input_data).encode(), usedforsecurity=False).digest()
    return [byte / 128 - 1 for byte in digest[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    return [(key, embedding_encode(value)) for key, value in batch]
