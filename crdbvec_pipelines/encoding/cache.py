"""The user's cache folder, and the one way in which anything is put there: built aside, then renamed into place.

Several processes may want the same thing at the same moment (the workers of one run); a file lock lets one build it
while the others wait, and the rename keeps a killed process from leaving half a thing under its final name.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from crdbvec_pipelines.encoding.errors import ModelError


def cache_folder(*parts: str) -> Path:
    """Return a path below the cache folder, the user's own or the one that CRDBVEC_CACHE_DIR names; nothing is made."""
    from platformdirs import user_cache_path

    named = os.environ.get("CRDBVEC_CACHE_DIR")
    return (Path(named) if named else user_cache_path("crdbvec")).joinpath(*parts)


def build_once(folder: Path, build: Callable[[Path], None], is_good: Callable[[Path], bool] = Path.is_dir) -> Path:
    """Make a cached folder, unless it is there already.

    Args:
        folder: Its final path, below the cache folder.
        build: Fills the empty folder that it is given.
        is_good: Whether the final folder can be used; a folder that cannot is replaced.

    Returns:
        `folder`.

    Raises:
        ModelError: The cache folder cannot be written.
    """
    from filelock import FileLock

    if is_good(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if is_good(folder):
                return folder
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                build(unfinished)
                # Temporary folders are their maker's alone, and a cache may be filled by one user for another.
                unfinished.chmod(0o755)
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror or type(error).__name__}): make it "
            "writable or free space on it, or set CRDBVEC_CACHE_DIR to another folder."
        ) from error
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or the one before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(unfinished).replace(path)
