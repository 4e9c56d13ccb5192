"""What each vector column is called in Dagster. Pure text: two columns never share a name."""

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crdbvec_pipelines.config import ProjectConfig

K = TypeVar("K", bound=Hashable)

COLUMN_TAG = "crdbvec/vector_column"
"""On every run of our jobs: which vector column it works on."""

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class Names:
    """The names of one vector column.

    Attributes:
        source: asset key of the table.
        asset: asset key of the vector column.
        index: asset key of its vector index.
        stem: what ops and the asset's graph are named after; unique in the configuration.
        short: what jobs, sensors and schedules are named after: the output column where that is unique.
        partitions: the dynamic partitions' name, which Dagster keeps for a whole instance.
        group: the group in the UI.
    """

    source: tuple[str, ...]
    asset: tuple[str, ...]
    index: tuple[str, ...]
    stem: str
    short: str
    partitions: str
    group: str

    def job(self, action: str) -> str:
        """The name of the job that does `action` (`encode`, `follow`, ...)."""
        return f"{self.short}__{action}"

    def op(self, action: str) -> str:
        """The name of that job's op. It must not be the job's own, which it would be where `short` is `stem`."""
        return f"{self.stem}__{action}_op"


def names_of(config: ProjectConfig) -> Mapping[str, Names]:
    """The names of each vector column of a configuration, by `str(column)`."""
    taken: set[str] = set()
    tables = _legal({vector.table: vector.table for vector in config.vectors}, set())
    columns = _legal({str(each): (*tables[each.table], each.output) for each in config.vectors}, taken)
    indexes = _legal({str(each): (*tables[each.table], f"{each.output}_index") for each in config.vectors}, taken)
    outputs = Counter(_word(vector.output) for vector in config.vectors)
    names: dict[str, Names] = {}
    for vector in config.vectors:
        path = columns[str(vector)]
        stem = "__".join(path)
        output = _word(vector.output)
        asset = (*config.asset_prefix, *path)
        names[str(vector)] = Names(
            source=(*config.asset_prefix, *tables[vector.table]),
            asset=asset,
            index=(*config.asset_prefix, *indexes[str(vector)]),
            stem=stem,
            short=output if outputs[output] == 1 and output not in taken else stem,
            partitions="crdbvec/" + "/".join(asset),
            group=_word(vector.table.name),
        )
    return names


def _legal(paths: Mapping[K, Sequence[str]], taken: set[str]) -> dict[K, tuple[str, ...]]:
    """Each path in words that Dagster takes, and no two alike, not even joined, as Dagster joins them to name ops.

    Where two would be, the later one gets a number; a path that is legal as it stands comes before any that is not.
    """
    legal: dict[K, tuple[str, ...]] = {}
    for key, path in sorted(paths.items(), key=lambda item: tuple(item[1]) != tuple(map(_word, item[1]))):
        *rest, last = map(_word, path)
        candidates = itertools.chain([last], (f"{last}_{number}" for number in itertools.count(2)))
        word = next(candidate for candidate in candidates if "__".join((*rest, candidate)) not in taken)
        taken.add("__".join((*rest, word)))
        legal[key] = (*rest, word)
    return legal


def _word(text: str) -> str:
    return _FORBIDDEN.sub("_", text)
