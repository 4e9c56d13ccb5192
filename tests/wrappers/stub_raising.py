"""The hash model, which raises for a text that contains RAISE, after some rows that it encodes.

CRDBVEC_TEST_RAISES is the class of the exception, whose text is the input: a built-in one, or `Panic`, which is no
`Exception`, as that of libraries in Rust.
"""

import builtins
import hashlib
import os
from collections.abc import Iterable
from typing import Any


class Panic(BaseException):
    """An exception that is not an `Exception`."""


def embedding_label() -> str:
    return "Hash of the input, with exceptions"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of the input; raises exceptions of any class."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(str(input_data).encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    pairs = list(batch)
    for _, value in pairs:
        if "RAISE" in value:
            raise getattr(builtins, os.environ["CRDBVEC_TEST_RAISES"], Panic)(value)
    return [(key, embedding_encode(value)) for key, value in pairs]
