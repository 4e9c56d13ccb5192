"""Private names of Dagster are imported in one module only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import crdbvec_pipelines
from crdbvec_pipelines.orchestration.instance import dagster_internals

PACKAGE = Path(str(crdbvec_pipelines.__file__)).parent
ALLOWED = Path(str(dagster_internals.__file__))


def imported_names(source: str) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, also inside of functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_private_to_dagster(name: str) -> bool:
    package, *parts = name.split(".")
    return (package == "dagster" or package.startswith("dagster_")) and any(part.startswith("_") for part in parts)


def private_names(file: Path) -> list[str]:
    return [name for name in imported_names(file.read_text(encoding="utf-8")) if is_private_to_dagster(name)]


def test_every_form_of_import_is_recognized() -> None:
    source = """
import dagster._core.storage as storage
from dagster import _check, Definitions
from dagster._serdes import ConfigurableClassData
def function():
    from dagster_postgres._utils import retry
    from dagster_postgres import DagsterPostgresStorage
    from ._core import own
"""
    assert [name for name in imported_names(source) if is_private_to_dagster(name)] == [
        "dagster._core.storage",
        "dagster._check",
        "dagster._serdes.ConfigurableClassData",
        "dagster_postgres._utils.retry",
    ]


def test_only_one_module_imports_private_names_of_dagster() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert ALLOWED in files
    assert {file.relative_to(PACKAGE).as_posix() for file in files if private_names(file)} == {
        "orchestration/instance/dagster_internals.py"
    }
