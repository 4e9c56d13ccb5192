"""The SHA-256 of model weights, cached across processes so that computing a model id does not read large files.

A digest is cached by path, with the size and the modification time of the file, and recomputed when either changes.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from crdbvec_pipelines.encoding.cache_folder import cache_folder, write_atomically


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; read the whole file.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; use the cached value if the file is unchanged.

    Raises:
        OSError: The file cannot be read.
    """
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    cache_file = cache_folder("digests", f"{name}.json")
    with contextlib.suppress(OSError, ValueError, KeyError):
        cached = json.loads(cache_file.read_text(encoding="utf-8"))
        if cached["state"] == state:
            return str(cached["sha256"])
    digest = sha256_of(path)
    # If the cache folder cannot be written, the digest is still correct; the next call computes it again.
    with contextlib.suppress(OSError):
        write_atomically(cache_file, json.dumps({"path": str(path), "state": state, "sha256": digest}))
    return digest


def combined_digest(paths: list[Path]) -> str:
    """Return one SHA-256 for several files: that of a single file, otherwise the hash of all digests in order.

    Raises:
        OSError: A file cannot be read.
    """
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
