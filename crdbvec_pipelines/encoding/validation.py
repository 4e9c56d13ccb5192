"""Checks of the results of a model: one result per key, the right dimension, finite numbers.

The messages contain the position in the batch, never the text.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.errors import EncodingError, InputRejected
from crdbvec_pipelines.encoding.reasons import Reason


def vectors_in_key_order(
    pairs: Sequence[object], keys: Sequence[object], dim: int, where: str
) -> tuple[Vectors, dict[int, InputRejected]]:
    """Return the results of (key, vector) pairs, which may be in any order, in the order of the keys.

    In a pair, an `InputRejected` in place of the vector states that the model rejected the input.

    Args:
        pairs: The pairs that the model returned.
        keys: The keys of the batch, in the order of the result.
        dim: The dimension of the vectors.
        where: The model and the batch, for the start of a message.

    Returns:
        The vectors, of shape (len(keys), dim), those of the failed rows being zero; and the errors of the failed rows,
        by their position.

    Raises:
        EncodingError: A key is missing, unknown or duplicate, or a vector does not consist of `dim` finite numbers.
    """
    positions = {key: position for position, key in enumerate(keys)}
    if len(positions) != len(keys):
        raise EncodingError(f"{where}: two rows have the same key.")
    vectors = np.zeros((len(keys), dim), np.float32)
    failures: dict[int, InputRejected] = {}
    missing = set(range(len(keys)))
    for number, pair in enumerate(pairs):
        key, vector = _pair(pair, where)
        position = positions.get(key)
        if position is None:
            raise EncodingError(f"{where}: result {number} has a key that is not in the batch.")
        if position not in missing:
            raise EncodingError(f"{where}: there are two results for the key at position {position}.")
        missing.remove(position)
        if isinstance(vector, InputRejected):
            failures[position] = vector
        else:
            vectors[position] = check_vector(vector, dim, f"{where}: the key at position {position}")
    if missing:
        raise EncodingError(
            f"{where}: there is no result for {len(missing)} of the keys, the first at position {min(missing)}."
        )
    return vectors, failures


def check_vector(vector: object, dim: int, where: str) -> Vectors:
    """Return one vector as float32 of shape (dim,).

    Raises:
        EncodingError: It does not consist of `dim` finite numbers.
    """
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError):
        raise EncodingError(f"{where}: the vector is not a list of numbers.", detail="not numbers") from None
    if array.shape != (dim,):
        raise EncodingError(
            f"{where}: the vector has the shape {array.shape}; the dimension of the model is {dim}.",
            detail=f"shape {array.shape}, dimension {dim}",
        )
    if not np.isfinite(array).all():
        raise EncodingError(
            f"{where}: the vector contains a value that is not finite (NaN or infinity).", detail="not finite"
        )
    return array


def check_vectors(vectors: Vectors, rows: int, dim: int, where: str) -> tuple[Vectors, dict[int, InputRejected]]:
    """Return the vectors of a backend as float32, C-contiguous, of shape (rows, dim).

    Returns:
        The vectors, and an error for each one with a value that is not finite, by its position.

    Raises:
        EncodingError: The shape is different.
    """
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.shape != (rows, dim):
        raise EncodingError(f"{where}: the vectors have the shape {array.shape}; expected {(rows, dim)}.")
    return array, {
        int(position): InputRejected(
            f"{where}: the vector at position {position} contains a value that is not finite (NaN or infinity).",
            reason=Reason.UNUSABLE_VECTOR,
            detail="not finite",
        )
        for position in np.flatnonzero(~np.isfinite(array).all(axis=1))
    }


def check_flags(flags: object, rows: int, where: str) -> NDArray[np.bool_]:
    """Return the truncation flags of a backend as booleans of shape (rows,).

    Raises:
        EncodingError: The number of flags differs from the number of texts.
    """
    array = np.asarray(flags, dtype=np.bool_)
    if array.shape != (rows,):
        raise EncodingError(f"{where}: the backend must return one truncation flag per text; expected {rows}.")
    return array


def check_unknown_shares(shares: object, rows: int, where: str) -> NDArray[np.float32] | None:
    """Return the shares of unknown tokens of a backend as float32 of shape (rows,); None if it does not count them.

    Raises:
        EncodingError: The number of shares differs from the number of texts.
    """
    if shares is None:
        return None
    array = np.asarray(shares, dtype=np.float32)
    if array.shape != (rows,):
        raise EncodingError(f"{where}: the backend must return one share of unknown tokens per text; expected {rows}.")
    return array


def _pair(pair: object, where: str) -> tuple[Hashable, object]:
    if isinstance(pair, tuple | list) and len(pair) == 2:
        key, vector = pair
        if isinstance(key, Hashable):
            return key, vector
    raise EncodingError(f"{where}: embedding_encode_batch must return (key, vector) pairs.")
