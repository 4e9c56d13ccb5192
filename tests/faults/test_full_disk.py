"""A device without space: for the cache of weights, and for the output. Nothing is lost, and the command says so."""

import resource
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.encoding.cache_folder import write_atomically
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.tables import create_table, vectors

# Less than the weights of the built-in model.
_MAX_FILE_BYTES = 1_000_000
_LIMITED = (
    "import resource; from crdbvec_pipelines.cli import main; "
    f"resource.setrlimit(resource.RLIMIT_FSIZE, ({_MAX_FILE_BYTES}, {_MAX_FILE_BYTES})); main()"
)
_UNLIMITED = "from crdbvec_pipelines.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path, direct: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration for a table with three rows."""
    create_table(direct, texts=["one", "two", "three"])
    monkeypatch.setenv("CRDBVEC_URL", direct.info.dsn)
    write_config(tmp_path)
    return tmp_path


def embed(folder: Path, source: str = _UNLIMITED, **streams: object) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", source, "embed"], cwd=folder, text=True, check=False, **streams
    )


def test_no_space_for_the_cache_of_weights(
    folder: Path, direct: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = folder / "cache"
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(cache))
    write_config(folder, {"model": "hf_st_all_minilm_l6"})
    done = embed(folder, _LIMITED)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: The cache folder ")
    assert done.stderr.endswith("Make it writable, free space on it, or set CRDBVEC_CACHE_DIR to another folder.\n")
    # No incomplete entry is left.
    assert [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_no_space_for_the_standard_output(folder: Path, direct: psycopg.Connection) -> None:
    with Path("/dev/full").open("w") as full:
        done = embed(folder, stdout=full)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: The output cannot be written, because the device has no space left.\n",
    )
    assert all(vector is not None for vector in vectors(direct).values())


def test_no_space_for_messages(folder: Path, direct: psycopg.Connection) -> None:
    """The exit code still says what happened."""
    with Path("/dev/full").open("w") as full:
        assert embed(folder, stderr=full).returncode == 0
        direct.execute("DROP TABLE passage")
        assert embed(folder, stderr=full).returncode == 2


def test_file_that_could_not_be_written_leaves_no_part(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(file, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
