"""The hash model, counted, that refuses some texts, has revisions, and can be away: what a test of faults needs.

A text with POISON in it is refused, one with ENDLESS in it is too long. CRDBVEC_TEST_REVISION is part of the model's id
and of its vectors. While there is a file beside CRDBVEC_TEST_CALLS that ends in .away, the model does not answer, nor
does it for a text with AWAY in it. Calls that were refused are counted in a file beside it that ends in .refused.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crdbvec_pipelines.encoding import EncoderUnavailable, InputTooLong


def embedding_label() -> str:
    return "Hash of the input, with moods"


def embedding_description() -> str:
    return "Eight numbers from the SHA-256 of revision and input; refuses some inputs, and is away at times."


def embedding_dim() -> int:
    return 8


def embedding_id() -> str:
    return f"stub_moody@{_revision()}"


def embedding_encode(input_data: Any, verbose: bool = False) -> list[float]:
    return [byte / 128 - 1 for byte in hashlib.sha256(f"{_revision()}{input_data}".encode()).digest()[:8]]


def embedding_encode_batch(
    batch_index: int, batch: Iterable[tuple[Any, Any]], verbose: bool = False
) -> list[tuple[Any, list[float]]]:
    pairs = list(batch)
    texts = [str(text) for _, text in pairs]
    calls = Path(os.environ["CRDBVEC_TEST_CALLS"])
    if calls.with_suffix(".away").exists() or any("AWAY" in text for text in texts):
        raise EncoderUnavailable("The model is overloaded (HTTP 429).", retry_after=0.1)
    refused = any("ENDLESS" in text or "POISON" in text for text in texts)
    with (calls.with_suffix(".refused") if refused else calls).open("a", encoding="utf-8") as log:
        log.write(json.dumps(texts) + "\n")
    if any("ENDLESS" in text for text in texts):
        raise InputTooLong("The batch is too long for the model.")
    if refused:
        raise ValueError(f"cannot tokenize {texts!r}")
    return [(key, embedding_encode(text)) for key, text in pairs]


def _revision() -> str:
    return os.environ.get("CRDBVEC_TEST_REVISION", "")
