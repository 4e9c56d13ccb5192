"""Which table the partitions of an asset belong to.

The name of dynamic partitions is global in a Dagster instance. Two code locations with tables of the same name in
different databases, and with the same `asset_prefix`, would share it, and each would change the other's partitions.
"""

import json
from typing import ClassVar

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.schema.metadata_version import database_identity
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.asset_names import AssetNames


class PartitionOwnerError(ConfigurationError):
    """The partitions belong to a table of another database, in another code location."""

    remedy: ClassVar[str] = (
        "Set a different `asset_prefix` in the configuration of one of them. If that code location no longer exists, "
        "delete the partitions of this asset in Dagster's UI and launch the job again."
    )


def claim_ownership(
    instance: dg.DagsterInstance, column: BoundColumn, names: AssetNames, location: str | None, *, is_new: bool
) -> None:
    """Record that the partitions belong to a table; another code location's are not taken over.

    The configuration of a code location may change to another database; then its partitions belong to the new one.

    Args:
        instance: Dagster's instance, in whose key-value storage the owner is recorded.
        column: The vector column.
        names: Its names in Dagster.
        location: The code location; None outside of code locations.
        is_new: Whether there are no partitions yet.

    Raises:
        PartitionOwnerError: The partitions belong to a table of another database, in another code location.
    """
    storage = instance.daemon_cursor_storage
    key = f"{names.partitions}/owner"
    recorded = storage.get_cursor_values({key}).get(key)
    owner = {"database": database_identity(column.database, column.table.name.schema), "location": location}
    if recorded is not None and not is_new:
        previous = json.loads(recorded)
        is_other = previous["database"] != owner["database"]
        if is_other and location is not None and previous["location"] not in (None, location):
            raise PartitionOwnerError(
                f"The partitions {names.partitions} belong to the code location {previous['location']}, whose table "
                f"{column.table.name} is in another database. {PartitionOwnerError.remedy}"
            )
        if not is_other and location is None:
            return
    text = json.dumps(owner)
    if text != recorded:
        storage.set_cursor_values({key: text})
