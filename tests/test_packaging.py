"""The wheel: what is in it and what is not, and that it works where there is nothing but it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run

BUILT_IN = ["color_histogram", "hf_st_all_minilm_l6", "openai_compatible"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    """The wheel's content in a folder, as an installation would lay it out."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def run_unpacked(unpacked: Path, source: str, *arguments: str) -> str:
    """What Python source prints where the wheel comes first, in a folder that has nothing to do with the checkout."""
    elsewhere = unpacked.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    done = run([sys.executable, "-c", source, *arguments], elsewhere, {"PYTHONPATH": str(unpacked)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_one_package_and_nothing_beside_it(files: set[str]) -> None:
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crdbvec_pipelines"}


def test_every_module_of_the_package_is_in(files: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "crdbvec_pipelines").rglob("*.py")}
    assert modules <= files
    assert "crdbvec_pipelines/py.typed" in files


def test_the_built_in_models_and_the_bundled_files_are_in(files: set[str]) -> None:
    for name in BUILT_IN:
        assert f"crdbvec_pipelines/_builtin_models/{name}.py" in files
    for name in ("crdbvec.yaml", "dagster.yaml", "workspace.yaml", "examples/wordnet/glosses.tsv.gz"):
        assert f"crdbvec_pipelines/_bundled/{name}" in files
    assert any("LICENSE" in name for name in files if "wordnet" in name or "dist-info" in name)


def test_nothing_is_in_that_belongs_to_the_checkout_only(files: set[str]) -> None:
    assert [name for name in files if "__pycache__" in name or "tests" in name.split("/") or ".crdbvec/" in name] == []


def test_it_lists_its_models_where_there_is_nothing_but_it(unpacked: Path) -> None:
    printed = run_unpacked(unpacked, "from crdbvec_pipelines.cli import main; main()", "model", "list")
    assert [line.split("\t")[0] for line in printed.splitlines()] == BUILT_IN


def test_its_own_files_are_found_and_not_the_checkouts(unpacked: Path) -> None:
    source = (
        "import crdbvec_pipelines; from crdbvec_pipelines.bundled import bundled; "
        "from crdbvec_pipelines.encoding.registry import ModelRegistry; "
        "print(crdbvec_pipelines.__file__); print(bundled('crdbvec.yaml')); "
        "print(ModelRegistry().find('color_histogram').path)"
    )
    printed = run_unpacked(unpacked, source).splitlines()
    assert len(printed) == 3
    for path in map(Path, printed):
        assert path.is_relative_to(unpacked)
        assert path.is_file()


def test_its_definitions_load_from_its_own_configuration(unpacked: Path) -> None:
    source = (
        "import os; from crdbvec_pipelines.bundled import bundled; "
        "os.environ['CRDBVEC_CONFIG'] = str(bundled('crdbvec.yaml')); "
        "from crdbvec_pipelines.definitions import defs; "
        "print(len(list(defs().resolve_all_job_defs())) > 3)"
    )
    assert run_unpacked(unpacked, source) == "True\n"
