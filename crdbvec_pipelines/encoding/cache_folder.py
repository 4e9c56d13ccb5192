"""The cache folder, whose entries are built under a temporary name and then renamed.

Several processes, such as the workers of one run, may need the same entry at the same time: with a file lock, one
builds it and the others wait. The rename ensures that a killed process leaves no incomplete entry.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from crdbvec_pipelines.encoding.errors import ModelError


def cache_folder(*parts: str) -> Path:
    """Return a path below CRDBVEC_CACHE_DIR, or below the user's cache folder; nothing is created."""
    from platformdirs import user_cache_path

    configured = os.environ.get("CRDBVEC_CACHE_DIR")
    return (Path(configured) if configured else user_cache_path("crdbvec")).joinpath(*parts)


def build_once(folder: Path, build: Callable[[Path], None], is_valid: Callable[[Path], bool] = Path.is_dir) -> Path:
    """Build a cached folder, unless a valid one exists.

    Args:
        folder: The final path, below the cache folder.
        build: Called with an empty folder, which it fills.
        is_valid: Whether an existing folder can be used; otherwise it is replaced.

    Returns:
        `folder`.

    Raises:
        ModelError: The cache folder cannot be written.
    """
    from filelock import FileLock

    if is_valid(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if is_valid(folder):
                return folder
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                build(unfinished)
                # Temporary folders are private to their owner, but several users may share a cache.
                unfinished.chmod(0o755)
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror or type(error).__name__}). Make it "
            "writable, free space on it, or set CRDBVEC_CACHE_DIR to another folder."
        ) from error
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees either the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(unfinished).replace(path)
    except OSError:
        Path(unfinished).unlink()
        raise
