"""The counting model with failures: it rejects some texts, has revisions, and can be unavailable.

It rejects a text that contains REJECTED, and one that contains TOO_LONG is too long. CRDBVEC_TEST_REVISION is part of
the model id and of the vectors. The model is unavailable for a text that contains UNAVAILABLE, and while a file exists
whose name is that of CRDBVEC_TEST_CALLS with the suffix .unavailable. The inputs of rejected calls are written to the
file with the suffix .rejected. Each call takes CRDBVEC_TEST_SECONDS, by default no time.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crdbvec_pipelines.encoding import EncoderUnavailable, InputTooLong


def embedding_label() -> str:
    return "Hash of the input, with failures"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of revision and input; rejects some inputs and can be unavailable."


def embedding_dim() -> int:
    return 8


def embedding_id() -> str:
    return f"stub_failing@{_revision()}"


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(f"{_revision()}{input_data}".encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    pairs = list(batch)
    texts = [str(text) for _, text in pairs]
    time.sleep(float(os.environ.get("CRDBVEC_TEST_SECONDS", "0")))
    calls = Path(os.environ["CRDBVEC_TEST_CALLS"])
    if calls.with_suffix(".unavailable").exists() or any("UNAVAILABLE" in text for text in texts):
        raise EncoderUnavailable("The model is overloaded (HTTP 429).", retry_after=0.1)
    is_too_long = any("TOO_LONG" in text for text in texts)
    is_rejected = is_too_long or any("REJECTED" in text for text in texts)
    with (calls.with_suffix(".rejected") if is_rejected else calls).open("a", encoding="utf-8") as log:
        log.write(json.dumps(texts) + "\n")
    if is_too_long:
        raise InputTooLong("The batch is too long for the model.")
    if is_rejected:
        raise ValueError(f"cannot tokenize {texts!r}")
    return [(key, embedding_encode(text)) for key, text in pairs]


def _revision() -> str:
    return os.environ.get("CRDBVEC_TEST_REVISION", "")
