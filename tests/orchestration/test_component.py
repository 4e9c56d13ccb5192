"""The Component: the same specs in a `dg` project's own defs.yaml."""

import dagster as dg
import psycopg
import pytest
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.component import VectorColumns
from tests.support.models import WRAPPERS, CallLog
from tests.support.tables import create_table, vectors

ASSET = dg.AssetKey(["public", "passage", "passage_vector"])
ENTRY = {"table": "public.passage", "input": "passage", "output": "passage_vector", "model": "stub_counting"}


def load(**attributes: object) -> dg.Definitions:
    """The definitions of a project whose defs.yaml has these attributes."""
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


def test_a_defs_yaml_makes_the_same_definitions_as_crdbvec_yaml() -> None:
    definitions = load()
    dg.Definitions.validate_loadable(definitions)
    assert ASSET in definitions.resolve_asset_graph().get_all_asset_keys()
    assert definitions.resolve_job_def("passage_vector__encode").name == "passage_vector__encode"


def test_it_embeds_as_any_other(url: str, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["one", "two"])
    definitions = load(database={"url": url}, asset_prefix=["team"])
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("crdbvec/team/public/passage/passage_vector", ["public:passage::min::max"])
        job = definitions.resolve_job_def("passage_vector__encode_in_process")
        assert job.execute_in_process(instance=instance, partition_key="public:passage::min::max").success
    assert all(vector is not None for vector in vectors(connection).values())


def test_what_is_wrong_in_a_defs_yaml_is_said_as_in_crdbvec_yaml() -> None:
    with pytest.raises(ComponentTreeException) as caught:
        load(vectors=[{**ENTRY, "outptu": "x"}])
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert str(caught.value.__cause__).endswith(
        "defs.yaml: vectors[0].outptu: there is no such key; did you mean output?"
    )
