"""Encoding in several processes: the same vectors, the same errors, and no process left."""

import os
import subprocess
import sys

import numpy as np
import psutil
import pytest

from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError
from crdbvec_pipelines.encoding.process_pool import ProcessPoolEncoder
from crdbvec_pipelines.refresh.parallel import open_batch_encoder
from tests.support.models import CallLog, registry, stub
from tests.support.tables import column
from tests.support.waiting import wait_until


def test_the_vectors_are_those_of_one_process(calls: CallLog) -> None:
    batch = [(number, f"text {number}") for number in range(20)]
    with ProcessPoolEncoder(registry().specification, column(), 2) as pool:
        encoded = pool.encode(batch, 1)
    assert np.array_equal(encoded.vectors, stub().encode(batch).vectors)
    assert calls.batches()[0] == [text for _, text in batch]


def test_errors_of_the_model_arrive(calls: CallLog) -> None:
    with ProcessPoolEncoder(registry().specification, column(model="stub_failing"), 2) as pool:
        with pytest.raises(EncodingError):
            pool.encode([(1, "REJECTED")])
        with pytest.raises(EncoderUnavailable) as raised:
            pool.encode([(1, "UNAVAILABLE")])
        assert raised.value.retry_after == 0.1


def test_a_process_that_ends_is_an_unavailable_model(calls: CallLog) -> None:
    with ProcessPoolEncoder(registry().specification, column(), 1) as pool:
        pool.encode([(1, "a")])
        for child in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()

        def encode_until_the_pool_notices() -> None:
            for _ in range(100):
                pool.encode([(1, "a")])

        with pytest.raises(EncoderUnavailable, match="ended unexpectedly"):
            encode_until_the_pool_notices()


def test_the_processes_end_with_a_killed_parent(calls: CallLog) -> None:
    code = (
        "import time\n"
        "from crdbvec_pipelines.encoding.process_pool import ProcessPoolEncoder\n"
        "from tests.support.models import registry\n"
        "from tests.support.tables import column\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolEncoder(registry().specification, column(), 2)\n"
        "    pool.encode([(1, 'a')])\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
    wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


@pytest.mark.parametrize(
    ("model", "executor", "workers", "several"),
    [
        ("stub_counting", "auto", 2, True),
        ("stub_counting", "auto", 1, False),
        ("stub_counting", "in_process", 2, False),
        ("color_histogram", "auto", 2, False),
        ("hf_st_all_minilm_l6", "auto", 2, False),
        ("color_histogram", "multiprocess", 2, True),
    ],
)
def test_where_batches_are_encoded(model: str, executor: str, workers: int, several: bool) -> None:
    with open_batch_encoder(registry(), column(model=model), executor, workers) as encoder:  # type: ignore[arg-type]
        assert isinstance(encoder.encoder, ProcessPoolEncoder) == several
