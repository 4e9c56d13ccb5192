"""The random faults: each is injected into the network, the server, or one of the processes."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from tests.faults.supervised import Supervised
from tests.support.proxy import DIRECTIONS, Proxy
from tests.support.servers import RestartableServer
from tests.support.waiting import wait_until

# How long a network stalls or is slow. Longer stalls than the reply timeout of the tests (1 s) are among them.
_MAX_STALL_SECONDS = 1.5
_DELAYS_SECONDS = (0.01, 0.1)
# How long to wait for a statement that an ordered fault can hit.
_ORDER_SECONDS = 10.0
# How many of the chosen signals reach processes while none has connected.
_STARTING_SHARE = 0.05
_PAUSES_SECONDS = (0.0, 0.6)


@dataclass
class RandomFaults:
    """A sequence of random faults.

    Attributes:
        random: The source of the faults and of their moments.
        proxy: The network.
        server: The server of the table.
        url: The database, without the proxy.
        processes: The processes that may be killed.
        injected: How often each fault was injected.
    """

    random: random.Random
    proxy: Proxy
    server: RestartableServer
    url: str
    processes: Sequence[Supervised]
    injected: Counter[str] = field(default_factory=Counter)

    def inject(self, count: int) -> None:
        """Inject this many faults. One without an effect, as without a session to cut, does not count."""
        faults = self._faults
        while self.injected.total() < count:
            (name,) = self.random.choices(list(faults), [weight for weight, _ in faults.values()])
            if faults[name][1]():
                self.injected[name] += 1
            time.sleep(self.random.uniform(*_PAUSES_SECONDS))

    @property
    def _faults(self) -> Mapping[str, tuple[int, Callable[[], bool]]]:
        """The faults with their weights; each returns whether it had an effect."""
        signals = {
            f"{process.name} {number.name}": (3, lambda process=process, number=number: self._signal(process, number))
            for process in self.processes
            for number in (signal.SIGKILL, signal.SIGTERM)
        }
        return {
            "connections cut": (4, lambda: self.proxy.cut("fin") > 0),
            "connections reset": (4, lambda: self.proxy.cut("rst") > 0),
            "stall": (3, self._stall),
            "delay": (2, self._delay),
            "packets swallowed": (3, self._swallow),
            "answer truncated": (4, self._truncate),
            "cut after a commit": (6, self._cut_after_commit),
            "backend terminated": (6, self._terminate_backend),
            "server stopped at once": (2, self._restart_server),
            **signals,
        }

    def _signal(self, process: Supervised, number: signal.Signals) -> bool:
        """Send a signal, mostly after a process has connected, because a process takes seconds to start."""
        if not self.proxy.sessions and self.random.random() > _STARTING_SHARE:
            return False
        return process.send(number)

    def _stall(self) -> bool:
        directions = self.random.choice(DIRECTIONS)
        if not self.proxy.sessions:
            return False
        with self.proxy.stalled(*directions):
            time.sleep(self.random.uniform(0, _MAX_STALL_SECONDS))
        return True

    def _delay(self) -> bool:
        if not self.proxy.sessions:
            return False
        self.proxy.delay_seconds = self.random.uniform(*_DELAYS_SECONDS)
        time.sleep(self.random.uniform(0, _MAX_STALL_SECONDS))
        self.proxy.delay_seconds = 0
        return True

    def _swallow(self) -> bool:
        return self.proxy.swallow(*self.random.choice(DIRECTIONS)) > 0

    def _truncate(self) -> bool:
        truncated = self.proxy.answers_truncated
        self.proxy.truncate_next_answer()
        return self._happens(lambda: self.proxy.answers_truncated > truncated)

    def _cut_after_commit(self) -> bool:
        cut = self.proxy.commits_cut
        self.proxy.cut_after_next_commit()
        return self._happens(lambda: self.proxy.commits_cut > cut)

    def _happens(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _ORDER_SECONDS
        while time.monotonic() < deadline and not condition():
            time.sleep(0.01)
        self.proxy.cancel_orders()
        return condition()

    def _terminate_backend(self) -> bool:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crdbvec' "
                "AND datname = current_database() ORDER BY random() LIMIT %s",
                (self.random.randint(1, 3),),
            ).fetchall()
        return bool(found)

    def _restart_server(self) -> bool:
        self.server.shut_down("immediate")
        time.sleep(self.random.uniform(0, _MAX_STALL_SECONDS))
        self.server.start()
        wait_until(self._is_available)
        return True

    def _is_available(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
