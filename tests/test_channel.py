"""The queue between the threads of a refresh: bounded, and never a reason to wait for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crdbvec_pipelines.channel import Channel


def test_items_come_out_in_order_and_then_it_ends() -> None:
    channel: Channel[int] = Channel(10)
    assert all(channel.put(number) for number in range(5))
    channel.close()
    assert list(channel) == [0, 1, 2, 3, 4]


def test_a_producer_never_gets_further_ahead_than_the_size() -> None:
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
        assert len(produced) <= taken + 2
    thread.join()
    assert len(produced) == 50


def test_every_item_reaches_exactly_one_of_several_consumers() -> None:
    channel: Channel[int] = Channel(3)
    with ThreadPoolExecutor(4) as pool:
        consumers = [pool.submit(lambda: list(channel)) for _ in range(4)]
        for number in range(1_000):
            assert channel.put(number)
        channel.close()
        taken = [number for consumer in consumers for number in consumer.result()]
    assert sorted(taken) == list(range(1_000))


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_a_producer_that_waits_for_room_is_released_when_the_channel_ends(end: str) -> None:
    channel: Channel[int] = Channel(1)
    assert channel.put(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(channel.put, 2)
        getattr(channel, end)()
        assert waiting.result() is False


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_a_consumer_that_waits_is_released_when_the_channel_ends(end: str) -> None:
    channel: Channel[int] = Channel(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, channel)
        getattr(channel, end)()
        assert waiting.result() == []


def test_closing_hands_out_what_waits_and_takes_no_more() -> None:
    channel: Channel[int] = Channel(5)
    channel.put(1)
    channel.close()
    assert channel.put(2) is False
    assert list(channel) == [1]


def test_abandoning_forgets_what_waits() -> None:
    channel: Channel[int] = Channel(5)
    channel.put(1)
    channel.abandon()
    assert list(channel) == []
