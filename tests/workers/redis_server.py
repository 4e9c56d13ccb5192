"""Redis as the broker of a test: started, killed and started again with the same data."""

import shutil
import subprocess
from pathlib import Path

import redis

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

SERVER = shutil.which("redis-server")
NEEDS_REDIS = "needs redis-server on PATH (package redis-server of Debian)"
_CONFIG = ROOT / "deploy" / "celery" / "redis.conf"


class RedisServer:
    """A Redis server with the settings of deploy/celery/redis.conf.

    Args:
        folder: The folder for its data.
        address: The address to listen on.
        port: The port.
        settings: Settings that replace those of the file.
    """

    def __init__(self, folder: Path, address: str, port: int, **settings: str) -> None:
        self.url = f"redis://{address}:{port}/0"
        others = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", value)]
        listen = ["--bind", address, "--port", str(port), "--dir", str(folder), "--protected-mode", "no"]
        self._command = [str(SERVER), str(_CONFIG), *listen, "--appendfsync", "always", *others]
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _answers(client))

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
