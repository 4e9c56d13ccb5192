"""What a worker needs before it takes runs: without it, the first run would fail, or use data of this machine only."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import yaml
from dagster_postgres import PostgresEventLogStorage

from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError
from crdbvec_pipelines.orchestration.celery.app import launcher_of
from crdbvec_pipelines.orchestration.celery.broker import broker_findings
from crdbvec_pipelines.orchestration.celery.settings import check_settings
from crdbvec_pipelines.orchestration.celery.versions import difference, stored_versions
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, PostgresStorage

HOME_VARIABLE = "DAGSTER_HOME"


def instance_findings(worker: str, slots: int) -> Iterator[Finding]:
    """Yield what is known about the Dagster instance of this process: storage, run launcher, versions, broker.

    Args:
        worker: The name of the worker that is about to start.
        slots: How many runs it executes at the same time.
    """
    try:
        # Before the instance is opened, which would start an embedded server or create SQLite files.
        _check_home()
        with dg.DagsterInstance.get() as instance:
            yield _storage_finding(instance)
            launcher = launcher_of(instance)
            check_settings(
                launcher.celery.conf, float(instance.get_settings("run_monitoring").get("max_runtime_seconds") or 0)
            )
            yield from _version_findings(instance)
            yield from broker_findings(launcher.celery, instance, worker, slots)
    except CrdbvecError as error:
        yield Finding("error", "dagster", None, str(error))
    except dg.DagsterError as error:
        message = str(error).splitlines()[0]
        yield Finding("error", "dagster", None, f"The Dagster instance cannot be opened. {message}")


def code_location_finding(module: str) -> Finding:
    """Return whether the module of a code location can be imported and its definitions are valid."""
    try:
        found = getattr(importlib.import_module(module), "defs", None)
        definitions = found if found is None or isinstance(found, dg.Definitions) else found()
        if not isinstance(definitions, dg.Definitions):
            raise ConfigurationError(f"The module {module} has no Definitions with the name defs.")
        dg.Definitions.validate_loadable(definitions)
    except CrdbvecError as error:
        return Finding("error", "code", module, str(error))
    except Exception as error:
        return Finding(
            "error",
            "code",
            module,
            f"The definitions cannot be loaded: {type(error).__name__}: {error}",
            "Install the same code and the same files as the code server has.",
        )
    jobs = len(list(definitions.resolve_all_job_defs()))
    return Finding("ok", "code", module, f"The definitions have {jobs} jobs.")


def _check_home() -> None:
    """Check the settings of Dagster's storage.

    Raises:
        ConfigurationError: The storage would be one that only this machine has.
    """
    home = os.environ.get(HOME_VARIABLE)
    file = Path(home or "") / "dagster.yaml"
    if not home or not file.is_file():
        raise ConfigurationError(
            f"{HOME_VARIABLE} does not name a folder with dagster.yaml, so this worker would use SQLite files of its "
            "own, in which no run exists. Set it, and copy the dagster.yaml of the daemon into that folder."
        )
    storage = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("storage") or {}
    is_own = storage.get("custom", {}).get("class") == PostgresStorage.__name__
    if is_own and not os.environ.get(URL_VARIABLE):
        raise ConfigurationError(
            f"{URL_VARIABLE} is not set, so Dagster's storage would be an embedded PostgreSQL of this machine, in "
            f"which no run exists. Set {URL_VARIABLE} to the PostgreSQL database that the daemon uses."
        )
    if not is_own and "postgres" not in storage:
        raise ConfigurationError(
            f"Dagster's storage in {file} is not PostgreSQL, so this worker would not find the runs of the daemon. "
            "Set `storage` as deploy/celery/dagster.yaml does."
        )


def _storage_finding(instance: dg.DagsterInstance) -> Finding:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise ConfigurationError(
            f"Dagster's storage is {type(storage).__name__}, which other machines cannot use. Use PostgreSQL."
        )
    # The simplest statement that reads the table of runs.
    runs = instance.get_runs_count()
    return Finding("ok", "storage", None, f"Dagster's storage is PostgreSQL and contains {runs:,} runs.")


def _version_findings(instance: dg.DagsterInstance) -> Iterator[Finding]:
    stored = stored_versions(instance)
    if stored is None:
        yield Finding("ok", "version", None, "No run was launched through Celery yet.")
    elif (newer := difference(stored, is_newer=True)) is not None:
        yield Finding("error", "version", None, f"The versions differ: {newer}.", "Install that version here.")
    elif (older := difference(stored)) is not None:
        remedy = "Update the daemon, too: a worker fails the runs of a daemon of another version."
        yield Finding("warning", "version", None, f"At the last launch the versions differed: {older}.", remedy)
    else:
        yield Finding("ok", "version", None, "The daemon that launched the last run has the version of this worker.")
