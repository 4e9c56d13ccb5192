"""The settings that a prediction recommends for a target recall, and the reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

from crdbvec_pipelines.cspann.prediction import SearchPrediction, SizePrediction
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import DIMENSIONS_PER_WORD

# A smaller gain does not justify another value than the server's default.
_SMALLEST_GAIN = 0.2


@dataclass(frozen=True)
class Recommendation:
    """Recommended settings.

    Attributes:
        max_partition_size: The maximum number of entries of a partition.
        min_partition_size: The minimum number.
        build_beam_size: The search effort of inserts.
        beam_size: The smallest simulated search effort that reaches the target recall; the largest one if none does.
        recall: Its recall.
        reaches_target: Whether it reaches the target recall.
        reasons: Sentences.
    """

    max_partition_size: int
    min_partition_size: int
    build_beam_size: int
    beam_size: int
    recall: float
    reaches_target: bool
    reasons: tuple[str, ...]


def recommend(
    predictions: Sequence[SizePrediction],
    settings: IndexSettings,
    target_recall: float,
    dim: int,
    prefix: Sequence[str] = (),
) -> Recommendation:
    """Return the settings with which a search of the target recall reads the fewest bytes.

    The recall must exceed the target by its standard error, because it was measured on a limited number of queries.

    Args:
        predictions: The predictions, one per partition size, or per partition size and build beam size.
        settings: The settings with which they were made.
        target_recall: The target.
        dim: The dimension of the vectors.
        prefix: The prefix columns.
    """
    reaching = {
        (each.max_partition_size, each.build_beam_size): (each, search)
        for each in predictions
        if (search := _smallest(each, target_recall)) is not None
    }
    if reaching:
        chosen, search = min(reaching.values(), key=lambda pair: pair[1].bytes_read)
        # First the settings that cost nothing, then the partition size alone.
        default_size = IndexSettings().max_partition_size
        for size in (default_size, chosen.max_partition_size):
            usual = reaching.get((size, settings.build_beam_size))
            if usual is not None and search.bytes_read > (1 - _SMALLEST_GAIN) * usual[1].bytes_read:
                chosen, search = usual
                break
        reasons = [
            f"max_partition_size {chosen.max_partition_size}: of the simulated sizes, a search of recall "
            f"{target_recall:g} reads the fewest bytes, or at most {_SMALLEST_GAIN:.0%} more than with any other.",
            f"beam size {search.beam_size}: the smallest simulated one with a recall of {target_recall:g} "
            f"({search.recall:.4f}), also after subtracting its standard error.",
        ]
    else:
        chosen, search = max(((each, each.table.searches[-1]) for each in predictions), key=lambda pair: pair[1].recall)
        reasons = [
            f"No simulated beam size reaches a recall of {target_recall:g}; the best is {search.recall:.4f} at "
            f"{search.beam_size}. Simulate larger beam sizes, or a larger build beam size."
        ]
    reasons.append(_about_build_beam(chosen, predictions, target_recall))
    reasons += _about_prefix(chosen, predictions, prefix)
    if dim % DIMENSIONS_PER_WORD:
        padded = -(-dim // DIMENSIONS_PER_WORD) * DIMENSIONS_PER_WORD
        reasons.append(
            f"The codes of {dim} dimensions take as much space as those of {padded}, because they are padded to a "
            f"multiple of {DIMENSIONS_PER_WORD}."
        )
    return Recommendation(
        chosen.max_partition_size,
        chosen.min_partition_size,
        chosen.build_beam_size,
        search.beam_size,
        search.recall,
        bool(reaching),
        tuple(reasons),
    )


def _smallest(prediction: SizePrediction, target_recall: float) -> SearchPrediction | None:
    return next(
        (each for each in prediction.table.searches if each.recall - each.standard_error >= target_recall),
        None,
    )


def _about_build_beam(chosen: SizePrediction, predictions: Sequence[SizePrediction], target_recall: float) -> str:
    others = [
        each
        for each in predictions
        if each.max_partition_size == chosen.max_partition_size and each.build_beam_size != chosen.build_beam_size
    ]
    if not others:
        return f"build_beam_size {chosen.build_beam_size}: the simulated one; with a larger one each insert reads more."
    (other,) = others
    found, own = _smallest(other, target_recall), _smallest(chosen, target_recall)
    if found is None or own is None:
        best = other.table.searches[-1]
        compared = f"with {other.build_beam_size} the recall is {best.recall:.4f} at beam size {best.beam_size}"
    else:
        share = found.bytes_read / own.bytes_read
        compared = f"with {other.build_beam_size} a search of this recall reads {share:.0%} of the bytes"
    return f"build_beam_size {chosen.build_beam_size}: {compared}; with a larger one each insert reads more."


def _about_prefix(chosen: SizePrediction, predictions: Sequence[SizePrediction], prefix: Sequence[str]) -> list[str]:
    if chosen.unquantized_prefixes is None or chosen.unquantized_rows is None:
        return ["No prefix: every search reads the one tree; CockroachDB does not use it for a search with a filter."]
    names = ", ".join(prefix)
    share = chosen.unquantized_rows / max(1, chosen.table.rows)
    smallest = min(predictions, key=lambda each: each.table.live_bytes)
    reasons = [
        f"Prefix {names}: a search within one value reads only its tree. {chosen.unquantized_prefixes:,} values have "
        f"at most {chosen.max_partition_size} rows, {share:.1%} of all rows; their full vectors are in the index."
    ]
    if smallest.table.live_bytes < (1 - _SMALLEST_GAIN) * chosen.table.live_bytes:
        reasons.append(
            f"With max_partition_size {smallest.max_partition_size}, more of these trees are quantized, and the index "
            f"has {1 - smallest.table.live_bytes / chosen.table.live_bytes:.0%} fewer bytes."
        )
    return reasons
