"""Dagster's processes as a user starts them, found by psutil so that a test can kill each of them.

Either `dagster dev` starts all of them, or the code server, the daemon and the webserver are started apart, as in
production. What a supervisor such as systemd does, starting again what has ended by itself, is done while waiting.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import yaml

from tests.chaos.webserver import LOCATION, Webserver
from tests.orchestration.daemon import WORKSPACE, daemon_command

Layout = Literal["dev", "code-server", "api-grpc"]
"""All processes by `dagster dev`, or apart with one of the two commands that start a code server."""
Role = Literal["daemon", "code server", "webserver", "dev", "worker"]

TIMEOUT_SECONDS = 300
_STOP_SECONDS = 60
_POLL_SECONDS = 0.25
_LOG_CHARACTERS = 6_000
_HOST = "127.0.0.1"


class Deployment:
    """Dagster's processes on one $DAGSTER_HOME, which is also their working directory.

    Args:
        home: The folder, with dagster.yaml. The other settings are those of the environment.
        layout: Which commands start the processes.
    """

    def __init__(self, home: Path, layout: Layout) -> None:
        self.home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarted: list[str] = []
        """The services that have ended by themselves and were started again."""
        port = free_port()
        self.webserver = Webserver(f"http://{_HOST}:{port}")
        if layout == "dev":
            command = [sys.executable, "-m", "dagster", "dev", *WORKSPACE, "-p", str(port), "-h", _HOST]
            self.commands = {"dev": command}
            return
        self._code_port = code_port = free_port()
        workspace = home / "workspace.yaml"
        server = {"host": _HOST, "port": code_port, "location_name": LOCATION}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
        options = ("-w", str(workspace))
        start = ("code-server", "start") if layout == "code-server" else ("api", "grpc")
        module = ("-m", "crdbvec_pipelines.definitions", "--location-name", LOCATION)
        self.commands = {
            "code server": [sys.executable, "-m", "dagster", *start, *module, "-p", str(code_port), "-h", _HOST],
            # With a second between two looks at backfills instead of thirty, as in the other tests with a daemon.
            "daemon": daemon_command(options, interval_seconds=1),
            "webserver": [sys.executable, "-m", "dagster_webserver", *options, "-p", str(port), "-h", _HOST],
        }

    def start(self, *services: str) -> None:
        """Start services; all at the same moment if none is named, as after a reboot."""
        for service in services or self.commands:
            with self._log(service).open("ab") as log:
                self._running[service] = subprocess.Popen(
                    self.commands[service],
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def start_in_order(self) -> None:
        """Start all services, the code server first, and wait until the webserver shows the code location."""
        first, *others = self.commands
        self.start(first)
        if others:
            self.wait_until(lambda: is_listening(self._code_port))
            self.start(*others)
        self.wait_for_jobs()

    def wait_for_jobs(self, *names: str) -> None:
        """Wait until the webserver shows the code location, with these jobs."""
        self.wait_until(lambda: bool(jobs := self.webserver.jobs()) and jobs.issuperset(names))

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait for a condition, and start services again that have ended; fail with the ends of all logs."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, self.end_of_logs()
            for service, process in list(self._running.items()):
                if process.poll() is not None:
                    self.restarted.append(service)
                    self.start(service)
            time.sleep(_POLL_SECONDS)

    def kill(self, *roles: Role) -> None:
        """Kill all processes of these roles with SIGKILL; their services stay down until they are started."""
        killed = [self._running.pop(role) for role in roles if role in self._running]
        found = [process for process in self.processes() if role_of(process) in roles]
        # None of them may see the end of another one.
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal_number)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(map(is_alive, found)):
            assert time.monotonic() < deadline, found
            time.sleep(_POLL_SECONDS)
        for service in killed:
            service.wait(_STOP_SECONDS)

    def kill_everything(self) -> None:
        """Kill all processes at once, as a reboot does."""
        self.kill("dev", "daemon", "webserver", "code server", "worker")
        # A process may have been started in between.
        self.kill("worker", "code server")

    def terminate(self, service: str) -> None:
        """Stop one service with SIGTERM, as a supervisor does, and wait for its end; it stays down until started."""
        process = self._running.pop(service)
        process.terminate()
        process.wait(_STOP_SECONDS)

    def stop(self) -> None:
        """Stop all services with Ctrl-C, and kill what is left."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        self.kill_everything()

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of this deployment."""
        return processes_of(self.home)

    def logs(self, service: str) -> str:
        """Return what a service and its children have printed."""
        return self._log(service).read_text(errors="replace")

    def end_of_logs(self) -> str:
        """Return the end of what each service and its children have printed."""
        return "\n".join(
            f"== {service}\n{self._log(service).read_text(errors='replace')[-_LOG_CHARACTERS:]}"
            for service in self.commands
            if self._log(service).exists()
        )

    def _log(self, service: str) -> Path:
        return self.home / f"{service.replace(' ', '_')}.log"


@contextmanager
def running_deployment(home: Path, layout: Layout) -> Iterator[Deployment]:
    """Start Dagster's processes, wait for the code location, and stop them at the end."""
    deployment = Deployment(home, layout)
    try:
        deployment.start_in_order()
        yield deployment
    finally:
        deployment.stop()


def processes_of(home: Path) -> list[psutil.Process]:
    """Return the processes that were started with this $DAGSTER_HOME, without those that have ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("DAGSTER_HOME") == str(home) and process.pid != os.getpid() and is_alive(process):
                found.append(process)
    return found


def role_of(process: psutil.Process) -> Role | None:
    """Return what a process of Dagster does; None for a helper of Python, or if the process has ended."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return None
    text = " ".join(command)
    if not command or Path(command[0]).name.startswith("postgres"):
        return None
    if "dagster_webserver" in text:
        return "webserver"
    if "dagster._daemon" in text:
        return "daemon"
    if "code-server" in command or "grpc" in command:
        return "code server"
    if "dev" in command:
        return "dev"
    return None if "resource_tracker" in text else "worker"


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def is_listening(port: int) -> bool:
    """Return whether a process accepts connections at a port of this host."""
    with socket.socket() as client:
        return client.connect_ex((_HOST, port)) == 0


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])
