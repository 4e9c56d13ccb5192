"""The identity of a process, of real processes that end, are killed, or have the id of another one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from crdbvec_pipelines.process_identity import ProcessIdentity
from tests.support.waiting import wait_until

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has started its work, with the default handling of SIGINT."""
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {SLEEP}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started
        started.kill()


def identity_of(process: "subprocess.Popen[bytes]") -> ProcessIdentity:
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    return identity


def test_this_process_has_not_ended() -> None:
    identity = ProcessIdentity.current()
    assert identity == ProcessIdentity.of(os.getpid())
    assert identity.is_on_this_host
    assert not identity.has_ended()


def test_text_contains_the_whole_identity() -> None:
    identity = ProcessIdentity.current()
    assert ProcessIdentity.parse(str(identity)) == identity


@pytest.mark.parametrize("text", ["", "host", "host/boot/12", "host/boot/x/34", "host/boot/12/34/56"])
def test_another_text_is_no_identity(text: str) -> None:
    assert ProcessIdentity.parse(text) is None


def test_killed_process_has_ended_before_its_parent_has_waited_for_it(process: "subprocess.Popen[bytes]") -> None:
    identity = identity_of(process)
    assert not identity.has_ended()
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert identity.has_ended()
    assert ProcessIdentity.of(process.pid) is None
    process.wait()
    assert identity.has_ended()


def test_process_with_the_id_of_an_ended_one_is_another_process() -> None:
    identity = ProcessIdentity.current()
    assert replace(identity, start=f"{identity.start}1").has_ended()


def test_process_of_an_earlier_boot_has_ended() -> None:
    assert replace(ProcessIdentity.current(), boot="earlier").has_ended()


def test_process_of_another_host_is_neither_taken_for_dead_nor_interrupted(
    process: "subprocess.Popen[bytes]",
) -> None:
    elsewhere = replace(identity_of(process), host="elsewhere")
    assert not elsewhere.has_ended()
    assert not elsewhere.interrupt()
    process.kill()
    process.wait()
    assert not elsewhere.has_ended()


def test_interrupt_reaches_the_process(process: "subprocess.Popen[bytes]") -> None:
    assert identity_of(process).interrupt()
    assert process.wait() == -signal.SIGINT


def test_ended_process_is_not_interrupted(process: "subprocess.Popen[bytes]") -> None:
    identity = identity_of(process)
    assert not replace(identity, start=f"{identity.start}1").interrupt()
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not identity.interrupt()
