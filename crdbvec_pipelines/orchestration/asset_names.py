"""The names of each vector column in Dagster. Pure text: two columns never share a name."""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crdbvec_pipelines.config import ProjectConfig, VectorColumn

K = TypeVar("K", bound=Hashable)

COLUMN_TAG = "crdbvec/vector_column"
"""The tag of every run of this project's jobs: the vector column that it works on."""

QUEUE_TAG = "crdbvec/queue"
"""The tag of runs and of assets that names the Celery queue of their runs."""

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class AssetNames:
    """The names of one vector column.

    Attributes:
        source: Asset key of the table.
        asset: Asset key of the vector column.
        index: Asset key of its vector index.
        stem: The prefix of the names of ops and of the asset's graph; unique in the configuration.
        short: The prefix of the names of jobs, sensors and schedules: the output column if that is unique.
        partitions: The name of the dynamic partitions, which is global in a Dagster instance.
        group: The group in the UI.
        resource: The key of the database's resource.
        code_version: The code version of the assets, which changes with what determines the vectors.
    """

    source: tuple[str, ...]
    asset: tuple[str, ...]
    index: tuple[str, ...]
    stem: str
    short: str
    partitions: str
    group: str
    resource: str
    code_version: str

    @property
    def resource_for_ticks(self) -> str:
        """The key of the resource with which sensors use the database."""
        return f"{self.resource}_for_ticks"

    def job(self, action: str) -> str:
        """Return the name of the job for an action (`encode`, `follow`, ...)."""
        return f"{self.short}__{action}"

    def op(self, action: str) -> str:
        """Return the name of the op of that job. It must differ from the job's name, also if `short` equals `stem`."""
        return f"{self.stem}__{action}_op"

    def check_op(self, check: str) -> str:
        """Return the name of the op of a check, short enough to be read in the timeline of a run."""
        return f"{self.short}__{check}"


def run_tags(spec: VectorColumn, names: AssetNames) -> dict[str, str]:
    """Return the tags of the runs of a vector column's jobs: the column, and the queue if the entry has one."""
    queue = {QUEUE_TAG: spec.tags[QUEUE_TAG]} if QUEUE_TAG in spec.tags else {}
    return {COLUMN_TAG: names.stem, **queue}


def asset_names(config: ProjectConfig) -> Mapping[str, AssetNames]:
    """Return the names of each vector column of a configuration, by `str(column)`.

    Keys and names of a database of `databases` begin with its name, so that they do not depend on the other databases.
    """
    databases = dict.fromkeys(vector.database for vector in config.vectors)
    return {key: names for database in databases for key, names in _names_in(config, database).items()}


def _names_in(config: ProjectConfig, database: str | None) -> dict[str, AssetNames]:
    vectors = [vector for vector in config.vectors if vector.database == database]
    prefix = (*config.asset_prefix, *filter(None, [database]))
    first = [*filter(None, [config.name_prefix, database])]
    taken: set[str] = set()
    tables = _legal({vector.table: vector.table for vector in vectors}, set())
    columns = _legal({str(each): (*tables[each.table], each.output) for each in vectors}, taken)
    indexes = _legal({str(each): (*tables[each.table], f"{each.output}_index") for each in vectors}, taken)
    outputs = Counter(_word(vector.output) for vector in vectors)
    names: dict[str, AssetNames] = {}
    for vector in vectors:
        path = columns[str(vector)]
        stem = "__".join([*first, *path])
        output = _word(vector.output)
        is_output_enough = outputs[output] == 1 and output not in taken
        asset = (*prefix, *path)
        names[str(vector)] = AssetNames(
            source=vector.source_asset or (*prefix, *tables[vector.table]),
            asset=asset,
            index=(*prefix, *indexes[str(vector)]),
            stem=stem,
            short="__".join([*first, output]) if is_output_enough else stem,
            partitions="crdbvec/" + "/".join(asset),
            group=vector.group or _word(vector.table.name),
            resource=config.resource_key_of(database),
            code_version=_code_version(vector, config.models.settings.get(vector.model, {})),
        )
    return names


def _code_version(spec: VectorColumn, settings: Mapping[str, object]) -> str:
    """Return a version that changes with the model, its settings, and the input; made without importing the model."""
    source = spec.template or list(spec.input_columns)
    parts: list[object] = [spec.model, settings, source, spec.output]
    if spec.long_inputs is not None:
        parts += [spec.long_inputs, None if spec.chunking is None else spec.chunking.model_dump()]
    text = json.dumps(parts, sort_keys=True, default=str)
    return f"{spec.model}-{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]}"


def _legal(paths: Mapping[K, Sequence[str]], taken: set[str]) -> dict[K, tuple[str, ...]]:
    """Return each path with characters that Dagster accepts; no two are equal, also not when joined by `__`.

    Dagster joins the parts to name ops. Of two equal paths the later one gets a number; a path that needed no change
    comes before any that did.
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
