"""The SHA-256 of a model's weights, remembered between processes so that naming a model's revision costs no reading.

A digest is remembered under the file's path with its size and modification time, and computed anew when either changed.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from crdbvec_pipelines.encoding.cache import cache_folder, write_atomically


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, by reading it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, from memory when the file is unchanged.

    Raises:
        OSError: The file cannot be read.
    """
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    memory = cache_folder("digests", f"{name}.json")
    with contextlib.suppress(OSError, ValueError, KeyError):
        remembered = json.loads(memory.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["sha256"])
    digest = sha256_of(path)
    # A cache folder that cannot be written only costs time: the digest is right all the same.
    with contextlib.suppress(OSError):
        write_atomically(memory, json.dumps({"path": str(path), "state": state, "sha256": digest}))
    return digest


def combined_digest(paths: list[Path]) -> str:
    """Return the SHA-256 that stands for several files: of the only one itself, else of all their digests in order.

    Raises:
        OSError: A file cannot be read.
    """
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
