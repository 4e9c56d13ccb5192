"""Reading pictures whose files or addresses are the inputs of rows, as far as the configuration allows it.

The user who writes a row chooses what it names, so a location is opened only if it is within an allowed folder or on an
allowed host. Whatever is not allowed, missing or too large is a failed row, whose reason contains nothing of the input.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crdbvec_pipelines.encoding.errors import InputRejected, ModelError
from crdbvec_pipelines.encoding.reasons import Reason

MAX_BYTES = 32 * 1_048_576
"""The maximum number of bytes of a picture that is read. Several are in memory at the same time."""
TIMEOUT_SECONDS = 10.0
"""The time after which a download ends, from its first byte sent to its last byte received."""

_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO})
# A symbolic link (only by a change between the check and the opening), or no permission.
_NOT_ALLOWED = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.EMLINK})
# A named pipe would otherwise wait for a writer. Not all systems have these flags.
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class PictureLocations:
    """What inputs that name pictures may name.

    Attributes:
        folders: The folders whose files may be read, absolute paths. A relative path is searched in all of them.
        hosts: The hosts from which pictures may be downloaded: names or addresses, with a port if it is not the usual
            one. A name whose address is not public is accepted if the address is listed, too.
        max_bytes: The maximum number of bytes of a picture.
        timeout: The maximum number of seconds of a download.
    """

    folders: Sequence[Path] = ()
    hosts: Sequence[str] = ()
    max_bytes: int = MAX_BYTES
    timeout: float = TIMEOUT_SECONDS

    def check(self) -> None:
        """Check that the folders exist, so that a missing one is not taken for missing pictures.

        Raises:
            ModelError: One does not, or is not an absolute path.
        """
        for folder in self.folders:
            if not folder.is_absolute() or not folder.is_dir():
                raise ModelError(
                    f"The folder {folder} of the model's setting `pictures` is not an absolute path of a folder that "
                    "exists. Correct the setting, or mount the folder."
                )

    def read(self, location: str) -> bytes:
        """Return the content of the picture that an input names.

        Raises:
            InputRejected: It is not allowed, does not exist, is too large, or its host does not send it.
            OSError: An allowed folder cannot be read.
        """
        if "://" in location:
            # Imported here, because http.client and ssl are not needed for files.
            from crdbvec_pipelines.encoding.picture_download import download_picture

            return download_picture(location, self.hosts, self.max_bytes, self.timeout)
        return self._read_file(location)

    def _read_file(self, location: str) -> bytes:
        path = Path(location)
        if not location or "\0" in location or ".." in path.parts:
            raise InputRejected(reason=Reason.NOT_ALLOWED)
        is_allowed = False
        for folder in map(os.path.realpath, self.folders):
            # The real path, so that a symbolic link out of the folder is not followed.
            real = os.path.realpath(Path(folder, path))
            if Path(real).is_relative_to(folder):
                is_allowed = True
                content = self._read_in(folder, Path(real).relative_to(folder))
                if content is not None:
                    return content
        raise InputRejected(reason=Reason.NOT_FOUND if is_allowed else Reason.NOT_ALLOWED)

    def _read_in(self, folder: str, relative: Path) -> bytes | None:
        """Return the content of a file in a folder; None if it does not exist."""
        with contextlib.ExitStack() as opened:
            try:
                descriptor = _open_without_links(folder, relative, opened)
            except OSError as error:
                if error.errno in _NOT_FOUND:
                    return None
                if error.errno in _NOT_ALLOWED:
                    raise InputRejected(reason=Reason.NOT_ALLOWED) from None
                raise
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise InputRejected(reason=Reason.NOT_ALLOWED, detail="not a file")
            if state.st_size > self.max_bytes:
                raise too_large(self.max_bytes)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(self.max_bytes + 1)
        # The file may have grown in the meantime.
        if len(content) > self.max_bytes:
            raise too_large(self.max_bytes)
        return content


def too_large(max_bytes: int) -> InputRejected:
    """Return the error of a picture with more bytes than allowed."""
    return InputRejected(reason=Reason.TOO_LARGE, detail=f"more than {max_bytes:,} bytes")


def _open_without_links(folder: str, relative: Path, opened: contextlib.ExitStack) -> int:
    """Open a file without following a symbolic link in any part of its path, which may have been put there just now."""
    if os.open not in os.supports_dir_fd:
        descriptor = os.open(Path(folder, relative), _FLAGS)
        opened.callback(os.close, descriptor)
        return descriptor
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    for part in relative.parts:
        descriptor = os.open(part, _FLAGS, dir_fd=descriptor)
        opened.callback(os.close, descriptor)
    return descriptor
