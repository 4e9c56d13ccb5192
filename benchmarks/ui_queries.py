"""How the queries of Dagster's pages grow with columns and partitions: the asset catalog, and the page of an asset.

The queries are those that the installed UI sends: they are read from its JavaScript, and answered by dagster-graphql on
an instance with PostgreSQL storage and a code location of its own. A quarter of the partitions of one column are
materialized. Each value is the median of three; the ratio is that of the full size to a quarter of both numbers.
"""

import argparse
import asyncio
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import dagster_webserver
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.schema import create_schema
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE

from benchmarks.bench_tables import own_server, show
from benchmarks.many_columns import INSTANCE, seconds
from crdbvec_pipelines.config import CONFIG_VARIABLE, load_config
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url

_DOCUMENT = re.compile(r'"((?:\\n|\s)*(?:query|fragment) \w+(?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"^\s*(?:query|fragment) (\w+)", re.MULTILINE)
_SPREAD = re.compile(r"\.\.\.\s*(?!on\b)(\w+)")
# The catalog reads the state of the assets that are visible in groups of this size.
_VISIBLE_ASSETS = 50
_PAGE = 1_000


@cache
def documents() -> Mapping[str, str]:
    """Return the document of each query and fragment in the JavaScript of the installed UI, by name."""
    build = Path(dagster_webserver.__file__).parent / "webapp" / "build"
    found = {}
    for file in build.rglob("*.js"):
        for literal in _DOCUMENT.findall(file.read_text(encoding="utf-8")):
            text = json.loads(f'"{literal}"')
            found.update(dict.fromkeys(_NAME.findall(text), text))
    return found


def query(name: str) -> str:
    """Return a query with the fragments that it needs."""
    needed: list[str] = []

    def add(document: str) -> None:
        if document not in needed:
            needed.append(document)
            for fragment in _SPREAD.findall(document):
                add(documents()[fragment])

    add(documents()[name])
    return "\n".join(needed)


def queries(assets: list[list[str]], asset: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the page, the name and the variables of each query."""
    visible = {"assetKeys": [{"path": path} for path in assets[:_VISIBLE_ASSETS]]}
    key = {"path": asset}
    yield "catalog", "AssetRecordsQuery", {"limit": _PAGE}
    yield "catalog", "AssetCatalogTableQuery", {"limit": _PAGE}
    yield "catalog", "AssetGraphLiveQuery", visible
    yield "catalog", "AssetHealthQuery", visible
    yield "asset", "AssetViewDefinitionQuery", {"assetKey": key}
    yield "asset", "AssetGraphLiveQuery", {"assetKeys": [key]}
    yield "asset", "PartitionHealthQuery", {"assetKey": key}
    events = {"assetKey": key, "eventTypeSelectors": ["MATERIALIZATION", "OBSERVATION"], "limit": 100}
    yield "asset", "RecentAssetEventsQuery", events


def measure(server: EmbeddedServer, columns: int, partitions: int) -> dict[tuple[str, str], float]:
    """Return the seconds of each query, by page and name."""
    storage = server.ensure_database(f"dagster_{columns}_{partitions}")
    with tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as name:
        folder = Path(name)
        (folder / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
        vectors = [
            {"table": f"public.t{number}", "input": "body", "output": "v", "model": "hf_st_all_minilm_l6"}
            for number in range(columns)
        ]
        file = folder / "crdbvec.yaml"
        given = {"database": {"url": "postgresql://none.invalid/d"}, "vectors": vectors}
        file.write_text(yaml.safe_dump(given), encoding="utf-8")
        # For the process that loads the definitions.
        os.environ.update({CONFIG_VARIABLE: str(file), URL_VARIABLE: sqlalchemy_url(storage)})
        names = list(asset_names(load_config(file)).values())
        keys = [f"public:t0::i{number}::i{number + 1}" for number in range(partitions)]
        with dg.DagsterInstance.from_config(name) as instance:
            instance.add_dynamic_partitions(names[0].partitions, keys)
            for key in keys[: partitions // 4]:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(dg.AssetKey(names[0].asset), partition=key, metadata={"rows_pending": 0})
                )
            # As the webserver, which keeps connections open.
            instance.optimize_for_webserver(
                DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
            )
            target = ModuleTarget("crdbvec_pipelines.definitions", None, None, None)
            with WorkspaceProcessContext(instance, target) as process:
                assets = [list(each.asset) for each in names]
                return {
                    (page, sent): seconds(lambda: answer(process, query(sent), variables))  # noqa: B023
                    for page, sent, variables in queries(assets, assets[0])
                }


def answer(process: WorkspaceProcessContext, text: str, variables: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the answer to a query, as the webserver does: with a context of its own, as JSON."""
    context = process.create_request_context()
    found = asyncio.run(_schema().execute_async(text, context_value=context, variables=dict(variables)))
    if found.errors or "PythonError" in json.dumps(found.data):
        raise RuntimeError(f"The query failed: {found.errors or found.data}")
    return dict(found.data)


@cache
def _schema() -> Any:
    return create_schema()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--partitions", type=int, default=4_096)
    options = parser.parse_args()
    with own_server() as server:
        small = measure(server, options.columns // 4, options.partitions // 4)
        full = measure(server, options.columns, options.partitions)
    show(
        f"{options.columns:,} vector columns, one with {options.partitions:,} partitions",
        ("query", "seconds of a quarter", "seconds", "ratio"),
        [[f"{page}: {name}", small[page, name], each, each / small[page, name]] for (page, name), each in full.items()],
    )


if __name__ == "__main__":
    main()
