"""The hash model, which does not return from the function that CRDBVEC_TEST_HANGS names.

The variable has two words: `import`, `load`, `encode` or `query`, and where it waits: in `python`, in `c`, or in
`locked`, which is C code that holds the interpreter lock. It then creates the file CRDBVEC_TEST_CALLS with the suffix
.hanging.
"""

import ctypes
import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# The size of a mutex on all platforms; zeros are an unlocked one.
_MUTEX_BYTES = 128


def embedding_label() -> str:
    return "Hash of the input, without an end"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of the input; can wait in any function."


def embedding_dim() -> int:
    return 8


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(str(input_data).encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    _hang("encode")
    return [(key, embedding_encode(value)) for key, value in batch]


def embedding_encode_query(text: str) -> Sequence[float]:
    _hang("query")
    return embedding_encode(text)


def _hang(function: str) -> None:
    hangs, _, where = os.environ.get("CRDBVEC_TEST_HANGS", "").partition(" ")
    if hangs != function:
        return
    Path(f"{os.environ['CRDBVEC_TEST_CALLS']}.hanging").touch()
    if where == "python":
        threading.Event().wait()
        return
    mutex = ctypes.create_string_buffer(_MUTEX_BYTES)
    library = ctypes.CDLL(None) if where == "c" else ctypes.PyDLL(None)
    for _ in range(2):
        library.pthread_mutex_lock(mutex)


if os.environ.get("CRDBVEC_TEST_HANGS", "").startswith("load"):

    def embedding_backend(threads: int | None = None) -> None:
        _hang("load")


_hang("import")
