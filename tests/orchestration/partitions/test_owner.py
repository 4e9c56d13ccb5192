"""Partitions of code locations with tables of the same name in different databases."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.orchestration.asset_names import AssetNames, asset_names
from crdbvec_pipelines.orchestration.partitions.owner import PartitionOwnerError
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from tests.orchestration.project import UNUSED_URL, configuration
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.work import prepared


@pytest.fixture
def names() -> AssetNames:
    (found,) = asset_names(configuration(UNUSED_URL)).values()
    return found


def sync(instance: dg.DagsterInstance, url: str, names: AssetNames, location: str | None) -> list[str]:
    """Sync the partitions of the table in one database, which is created if it is missing, and return them."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('passage') IS NULL").fetchone() == (True,):
            create_table(connection, INT_SHAPE, ["text"] * 10)
    with Database(url) as database:
        sync_partitions(instance, prepared(database, column()), names, location)
    return list(instance.get_dynamic_partitions(names.partitions))


def test_other_database_in_another_location_is_rejected(
    instance: dg.DagsterInstance, server: Server, url: str, names: AssetNames
) -> None:
    before = sync(instance, url, names, "first")
    with server.new_database() as other:
        with pytest.raises(PartitionOwnerError) as caught:
            sync(instance, other, names, "second")
        assert str(caught.value) == (
            f"The partitions {names.partitions} belong to the code location first, whose table public.passage is in "
            "another database. Set a different `asset_prefix` in the configuration of one of them. If that code "
            "location no longer exists, delete the partitions of this asset in Dagster's UI and launch the job again."
        )
        assert instance.get_dynamic_partitions(names.partitions) == before
        # The remedy of the message.
        for key in before:
            instance.delete_dynamic_partition(names.partitions, key)
        assert sync(instance, other, names, "second") == before
        with pytest.raises(PartitionOwnerError, match="belong to the code location second"):
            sync(instance, url, names, "first")


def test_location_may_change_its_database(
    instance: dg.DagsterInstance, server: Server, url: str, names: AssetNames
) -> None:
    sync(instance, url, names, "first")
    with server.new_database() as other:
        sync(instance, other, names, "first")
        with pytest.raises(PartitionOwnerError, match="belong to the code location first"):
            sync(instance, url, names, "second")


def test_same_database_in_another_location_is_accepted(
    instance: dg.DagsterInstance, url: str, names: AssetNames
) -> None:
    for location in ("first", "second", None, "first"):
        sync(instance, url, names, location)


def test_process_outside_of_code_locations_does_not_change_the_owner(
    instance: dg.DagsterInstance, server: Server, url: str, names: AssetNames
) -> None:
    sync(instance, url, names, "first")
    sync(instance, url, names, None)
    with server.new_database() as other, pytest.raises(PartitionOwnerError, match="belong to the code location first"):
        sync(instance, other, names, "second")
