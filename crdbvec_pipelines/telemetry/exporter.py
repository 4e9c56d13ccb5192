"""The metrics of a follower, which Prometheus reads by HTTP."""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Self

from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.refresh.follower import FollowedColumn
from crdbvec_pipelines.telemetry.metrics import Metrics
from crdbvec_pipelines.telemetry.state import read_gauges

logger = logging.getLogger(__name__)

HOST_VARIABLE = "CRDBVEC_METRICS_HOST"

# The statements go through indexes, but a scrape must not decide how often they run.
_READ_INTERVAL_SECONDS = 10.0


def metrics_host() -> str:
    """Return the address on which metrics are served: that of the variable CRDBVEC_METRICS_HOST, or this machine."""
    return os.environ.get(HOST_VARIABLE) or "127.0.0.1"


class Exporter:
    """Serves the metrics of followed columns while used as a context manager.

    Args:
        columns: The columns.
        host: The address on which the server listens.
        port: Its port; 0 for one that is free.
        interval_seconds: The time between two reads of the database.

    Raises:
        ConfigurationError: The port is in use, or the address is not one of this machine.
    """

    def __init__(
        self, columns: Sequence[FollowedColumn], host: str, port: int, interval_seconds: float = _READ_INTERVAL_SECONDS
    ) -> None:
        from prometheus_client import start_http_server

        self.metrics = Metrics()
        self._columns = columns
        self._interval = interval_seconds
        self._ended = threading.Event()
        for column in columns:
            self.metrics.start(column.spec)
            column.on_batch = self.metrics.on_batch(column.spec)
        try:
            self._server, _ = start_http_server(port, host, self.metrics.registry)
        except OSError as error:
            raise ConfigurationError(
                f"The metrics cannot be served on {host}:{port}: {error.strerror or type(error).__name__}. "
                f"Choose another --metrics-port, or set {HOST_VARIABLE} to an address of this machine."
            ) from None
        self._reader = threading.Thread(target=self._read, name="crdbvec-metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_port)

    def __enter__(self) -> Self:
        logger.warning("Metrics are served on port %d.", self.port)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _read(self) -> None:
        while True:
            for column in self._columns:
                try:
                    read_gauges(self.metrics, column.rows)
                except DatabaseError as error:
                    logger.info("The metrics of %s were not read: %s", column.spec, error)
                if column.last_round_at:
                    self.metrics.set(column.spec, "crdbvec_last_round_timestamp_seconds", column.last_round_at)
            if self._ended.wait(self._interval):
                return
