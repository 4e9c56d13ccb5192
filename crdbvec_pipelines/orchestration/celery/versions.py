"""The versions of launcher and workers, which exchange runs through Dagster's storage."""

import json
from collections.abc import Mapping

import dagster as dg

from crdbvec_pipelines import __version__

_CURSOR = "crdbvec/celery_launcher_versions"

Versions = Mapping[str, str]


def own_versions() -> dict[str, str]:
    """Return the versions of this process that must agree, by package."""
    return {"crdbvec-pipelines": __version__, "dagster": dg.__version__}


def release(version: str) -> tuple[int, ...]:
    """Return major and minor version: within them, launcher and worker understand each other."""
    return tuple(int("".join(filter(str.isdecimal, part)) or 0) for part in version.split(".")[:2])


def difference(theirs: Versions, *, is_newer: bool = False) -> str | None:
    """Return in what this process differs from the launcher, as a clause; None if they agree.

    Args:
        theirs: The versions of the launcher.
        is_newer: Whether only a launcher that is newer than this process counts.
    """
    for package, own in own_versions().items():
        other = theirs.get(package)
        if other is None or release(other) == release(own) or (is_newer and release(other) < release(own)):
            continue
        return f"this worker has {package} {own}, and the daemon has {other}"
    return None


def store_versions(instance: dg.DagsterInstance) -> None:
    """Store the versions of the process that launches runs."""
    instance.daemon_cursor_storage.set_cursor_values({_CURSOR: json.dumps(own_versions())})


def stored_versions(instance: dg.DagsterInstance) -> Versions | None:
    """Return the versions of the process that launched the last run; None if none was launched."""
    found = instance.daemon_cursor_storage.get_cursor_values({_CURSOR}).get(_CURSOR)
    return json.loads(found) if found else None
