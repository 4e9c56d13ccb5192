"""What each vector column is called in Dagster. Pure text: two columns never share a name."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crdbvec_pipelines.config import ProjectConfig, VectorColumn

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


def names_of(config: ProjectConfig) -> Mapping[str, Names]:
    """The names of each vector column of a configuration, by `str(column)`."""
    outputs = Counter(_word(vector.output) for vector in config.vectors)
    stems = Counter(_stem(vector) for vector in config.vectors)
    names: dict[str, Names] = {}
    for position, vector in enumerate(config.vectors):
        # Two names that differ in a character that Dagster does not take would become one.
        stem = _stem(vector) if stems[_stem(vector)] == 1 else f"{_stem(vector)}_{position}"
        source = (*config.asset_prefix, vector.table.schema, vector.table.name)
        asset = (*source, vector.output)
        names[str(vector)] = Names(
            source=source,
            asset=asset,
            index=(*source, f"{vector.output}_index"),
            stem=stem,
            short=_word(vector.output) if outputs[_word(vector.output)] == 1 else stem,
            partitions="crdbvec/" + "/".join(asset),
            group=_word(vector.table.name),
        )
    return names


def _stem(vector: VectorColumn) -> str:
    return "__".join(map(_word, (*vector.table, vector.output)))


def _word(text: str) -> str:
    return _FORBIDDEN.sub("_", text)
