"""The identity of a process: a text that no other process has, on any host and after any restart of the host.

A process stores it, in a claim or in the tags of a run, and another one finds out from it whether the first one still
exists. Hosts that work on the same database need different host names or machine ids.
"""

import functools
import hashlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_IS_LINUX = sys.platform == "linux"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_HASH_CHARACTERS = 12


@dataclass(frozen=True)
class ProcessIdentity:
    """The identity of one process.

    Attributes:
        host: The host's name, with a hash of its machine id if it has one.
        boot: The id of the host's boot; empty on systems where the start time does not depend on it.
        pid: The process id, which the system uses again after the process has ended.
        start: When the process started, in a unit of the system.
    """

    host: str
    boot: str
    pid: int
    start: str

    def __str__(self) -> str:
        return "/".join((self.host, self.boot, str(self.pid), self.start))

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of a process of this host; None if there is none with this id."""
        start = _start_of(pid)
        return None if start is None else cls(_host(), _boot(), pid, start)

    @classmethod
    def current(cls) -> Self:
        """Return the identity of this process.

        Raises:
            ProcessLookupError: The process table cannot be read, because /proc is not mounted.
        """
        identity = cls.of(os.getpid())
        if identity is None:
            raise ProcessLookupError("The process table cannot be read. Mount /proc.")
        return identity

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the identity that a text contains; None if it contains none."""
        parts = text.split("/")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        host, boot, pid, start = parts
        return cls(host, boot, int(pid), start)

    @property
    def is_on_this_host(self) -> bool:
        """Whether the process runs or ran on this host, in this boot or in an earlier one."""
        return self.host == _host()

    def has_ended(self) -> bool:
        """Return whether this is a process of this host that no longer runs. Processes of other hosts are not known."""
        return self.is_on_this_host and (self.boot != _boot() or self.start != _start_of(self.pid))

    def interrupt(self) -> bool:
        """Send SIGINT to the process, and return whether it was sent: it runs on this host, and may be signaled."""
        if not self.is_on_this_host or self.has_ended():
            return False
        try:
            os.kill(self.pid, signal.SIGINT)
        except (ProcessLookupError, PermissionError):
            return False
        return True


@functools.cache
def _host() -> str:
    machine = _read(_MACHINE_ID)
    # systemd asks not to publish the machine id itself.
    digest = hashlib.sha256(machine.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{socket.gethostname()}:{digest}" if machine else socket.gethostname()


@functools.cache
def _boot() -> str:
    return _read(_BOOT_ID) if _IS_LINUX else ""


def _start_of(pid: int) -> str | None:
    """Return when a process started; None if there is none with this id, or only its exit code is left.

    Linux stores the time since boot. psutil adds the time of the boot to it, so its value changes if the clock is set,
    and a process would seem to be another one. Other systems store the time of day.
    """
    if _IS_LINUX:
        try:
            # The name of the program comes first, in parentheses, and may contain spaces and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, start = fields[0], fields[19]
        return None if state in "ZX" else start
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
