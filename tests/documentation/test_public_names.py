"""No public name is removed or renamed unnoticed: those of the last snapshot still exist.

CRDBVEC_UPDATE_SNAPSHOTS=1 writes tests/snapshots/public_names.json, which adds new names, and forgets removed ones. A
removed name needs an entry in CHANGELOG.md with its replacement (CONTRIBUTING.md).
"""

import json
import os
import re

import pytest

import crdbvec_pipelines
from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.encoding.contract import REQUIRED, OptionalFunctions
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.telemetry.catalog import METRICS
from docsite.reference.configuration import keys
from docsite.reference.dagster_objects import CHECKS, METADATA
from tests.documentation.test_names import (
    COMMANDS,
    objects_in_dagster,
    spans_of_the_code,
    steps_in_dagster,
    tags_of_the_code,
    targets_of_make,
    variables_of_the_code,
)
from tests.support.processes import ROOT

SNAPSHOT = ROOT / "tests" / "snapshots" / "public_names.json"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"


def options() -> set[str]:
    """Return each option after the name of its command."""
    return {
        f"{name} {option}"
        for name, context in COMMANDS.items()
        for parameter in context.command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def python_names() -> set[str]:
    """Return the public names, and the public attributes of the classes among them."""
    names = set(crdbvec_pipelines.__all__)
    for name in crdbvec_pipelines.__all__:
        value = getattr(crdbvec_pipelines, name)
        if isinstance(value, type) and not issubclass(value, (Exception, ProjectConfig)):
            fields = getattr(value, "__dataclass_fields__", {})
            names |= {f"{name}.{each}" for each in {*vars(value), *fields} if not each.startswith("_")}
    return names


def errors() -> set[str]:
    """Return the names of the errors with their exit codes, from the page that tests/test_docs_errors.py compares."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    return {f"{name} {code}" for name, code in re.findall(r"^\| `[\w.]+\.(\w+)` \| (\d) \|", page, re.MULTILINE)}


PUBLIC: dict[str, set[str]] = {
    "commands": set(COMMANDS),
    "options": options(),
    "keys of crdbvec.yaml": {key for key, _, _ in keys()},
    "Python": python_names(),
    "checks": {name for names in CHECKS.values() for name in names},
    "metadata": {key for group in METADATA.values() for key in group},
    "metrics": {metric.name for metric in METRICS},
    "functions of a wrapper": {*REQUIRED, *(name for name in vars(OptionalFunctions) if name.startswith("emb"))},
    "built-in models": set(ModelRegistry().names()),
    "environment variables": variables_of_the_code(),
    "errors and their exit codes": errors(),
    "jobs, sensors and schedules": objects_in_dagster(),
    "steps": steps_in_dagster(),
    "tags": tags_of_the_code(),
    "spans": set(spans_of_the_code()),
    "targets of make": targets_of_make(),
}


@pytest.mark.parametrize("kind", PUBLIC)
def test_public_names_still_exist(kind: str) -> None:
    if os.environ.get(UPDATE_VARIABLE):
        written = {name: sorted(names) for name, names in PUBLIC.items()}
        SNAPSHOT.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))[kind]
    assert sorted(set(recorded) - PUBLIC[kind]) == [], (
        f"removed or renamed: name the replacement in CHANGELOG.md, and run this test with {UPDATE_VARIABLE}=1"
    )
