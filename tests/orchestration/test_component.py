"""The component: the same configuration in the defs.yaml of a `dg` project."""

import dagster as dg
import psycopg
import pytest
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.component import VectorColumns
from tests.support.models import WRAPPERS
from tests.support.projects import ENTRY
from tests.support.tables import create_table, vectors

ASSET = dg.AssetKey(["public", "passage", "passage_vector"])


def load(**attributes: object) -> dg.Definitions:
    """Return the definitions of a project whose defs.yaml has these attributes."""
    given = {"models": {"directories": [str(WRAPPERS)]}, "vectors": [ENTRY], **attributes}
    with create_defs_folder_sandbox(project_name="some_project") as sandbox:
        path = sandbox.scaffold_component(
            component_cls=VectorColumns,
            defs_path="embeddings",
            defs_yaml_contents={
                "type": "crdbvec_pipelines.orchestration.component.VectorColumns",
                "attributes": given,
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (component, definitions):
            assert isinstance(component, VectorColumns)
            return definitions


def test_defs_yaml_has_the_same_definitions_as_crdbvec_yaml() -> None:
    definitions = load()
    dg.Definitions.validate_loadable(definitions)
    assert ASSET in definitions.resolve_asset_graph().get_all_asset_keys()
    assert definitions.resolve_job_def("passage_vector__encode").name == "passage_vector__encode"


@pytest.mark.usefixtures("calls")
def test_component_embeds_rows(url: str, connection: psycopg.Connection, instance: dg.DagsterInstance) -> None:
    create_table(connection, texts=["one", "two"])
    definitions = load(database={"url": url}, asset_prefix=["team"])
    instance.add_dynamic_partitions("crdbvec/team/public/passage/passage_vector", ["public:passage::min::max"])
    job = definitions.resolve_job_def("passage_vector__encode_in_process")
    assert job.execute_in_process(instance=instance, partition_key="public:passage::min::max").success
    assert all(vector is not None for vector in vectors(connection).values())


def test_errors_in_defs_yaml_have_the_messages_of_crdbvec_yaml() -> None:
    with pytest.raises(ComponentTreeException) as caught:
        load(vectors=[{**ENTRY, "outptu": "x"}])
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert str(caught.value.__cause__).endswith(
        "defs.yaml: vectors[0].outptu: there is no such key; did you mean output?"
    )
