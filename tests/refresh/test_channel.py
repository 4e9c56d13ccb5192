"""The queue between the threads of a refresh: it is bounded, and no thread waits after it has been closed."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crdbvec_pipelines.refresh.channel import Channel
from tests.support.waiting import wait_until


class ObservedCondition(threading.Condition):
    """A condition that sets an event when a thread begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        # The thread has the lock, so nothing changes between this line and the wait.
        self.waiting.set()
        return super().wait(timeout)


def observed_channel(size: int) -> tuple[Channel[int], threading.Event]:
    """Return a channel, and an event that is set when a thread begins to wait for it."""
    channel: Channel[int] = Channel(size)
    condition = ObservedCondition()
    channel._changed = condition
    return channel, condition.waiting


def test_items_are_received_in_order_until_the_channel_is_closed() -> None:
    channel: Channel[int] = Channel(10)
    assert all(channel.put(number) for number in range(5))
    channel.close()
    assert list(channel) == [0, 1, 2, 3, 4]


def test_producer_is_ahead_of_the_consumer_by_the_size_at_most() -> None:
    channel: Channel[int] = Channel(2)
    produced: list[int] = []

    def produce() -> None:
        for number in range(50):
            channel.put(number)
            produced.append(number)
        channel.close()

    thread = threading.Thread(target=produce)
    thread.start()
    for taken, _ in enumerate(channel, start=1):
        expected = min(50, taken + 2)
        assert len(produced) <= expected
        # The producer fills the queue again before the next item is taken.
        wait_until(functools.partial(lambda count: len(produced) == count, expected))
    thread.join()
    assert len(produced) == 50


def test_every_item_is_received_by_exactly_one_of_several_consumers() -> None:
    channel: Channel[int] = Channel(3)
    # All consumers are running before the first item is produced.
    ready = threading.Barrier(5)

    def consume() -> list[int]:
        ready.wait()
        return list(channel)

    with ThreadPoolExecutor(4) as pool:
        consumers = [pool.submit(consume) for _ in range(4)]
        ready.wait()
        for number in range(1_000):
            assert channel.put(number)
        channel.close()
        taken = [number for consumer in consumers for number in consumer.result()]
    assert sorted(taken) == list(range(1_000))


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_producer_that_waits_for_room_is_released_when_the_channel_ends(end: str) -> None:
    channel, waiting = observed_channel(1)
    assert channel.put(1)
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(channel.put, 2)
        assert waiting.wait(60)
        getattr(channel, end)()
        assert accepted.result() is False


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_consumer_that_waits_for_an_item_is_released_when_the_channel_ends(end: str) -> None:
    channel, waiting = observed_channel(1)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(list, channel)
        assert waiting.wait(60)
        getattr(channel, end)()
        assert received.result() == []


def test_closed_channel_delivers_the_queued_items_and_accepts_no_more() -> None:
    channel: Channel[int] = Channel(5)
    channel.put(1)
    channel.close()
    assert channel.put(2) is False
    assert list(channel) == [1]


def test_abandoned_channel_discards_the_queued_items() -> None:
    channel: Channel[int] = Channel(5)
    channel.put(1)
    channel.abandon()
    assert channel.put(2) is False
    assert list(channel) == []
