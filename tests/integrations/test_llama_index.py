"""The vector store and the retriever of LlamaIndex."""

import psycopg
import pytest

pytest.importorskip("llama_index.core", reason="needs the package llama-index-core")

from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from crdbvec_pipelines import Column, ConfigurationError
from crdbvec_pipelines.integrations.llama_index import CrdbvecRetriever, CrdbvecVectorStore
from tests.support.models import STUB_DIM, stub_vector


def node(identifier: str, text: str, source: str, **metadata: object) -> TextNode:
    return TextNode(
        id_=identifier,
        text=text,
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)},
    )


@pytest.fixture
def store(documents: Column) -> CrdbvecVectorStore:
    filled = CrdbvecVectorStore(documents, columns=["year"], metadata_column="metadata")
    nodes = [
        node("1", "one", "book", page=1, lang="en"),
        node("2", "two", "book", page=2, lang="de"),
        node("3", "three", "letter", page=3, lang="en"),
    ]
    assert filled.add(nodes) == ["1", "2", "3"]
    return filled


def filters(*conditions: tuple[str, FilterOperator, object]) -> MetadataFilters:
    return MetadataFilters(
        filters=[MetadataFilter(key=key, operator=operator, value=value) for key, operator, value in conditions]
    )


def test_retriever_returns_nodes_with_key_text_metadata_and_score(
    store: CrdbvecVectorStore, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE document SET year = 1999 WHERE id = '2'")
    (found,) = CrdbvecRetriever(store, similarity_top_k=1).retrieve("two")
    assert (found.node.node_id, found.node.get_content()) == ("2", "two")
    assert found.node.metadata == {"year": 1999, "page": 2, "lang": "de", "ref_doc_id": "book"}
    assert found.score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ([("lang", FilterOperator.EQ, "en")], {"1", "3"}),
        ([("lang", FilterOperator.NE, "en")], {"2"}),
        ([("page", FilterOperator.GTE, 2), ("lang", FilterOperator.EQ, "en")], {"3"}),
        ([("page", FilterOperator.IN, [1, 2])], {"1", "2"}),
        ([("page", FilterOperator.NIN, [1, 2])], {"3"}),
        ([("page", FilterOperator.LT, 3), ("page", FilterOperator.GT, 1)], {"2"}),
        ([("year", FilterOperator.IS_EMPTY, None)], {"1", "2", "3"}),
    ],
)
def test_filters_of_llama_index(
    store: CrdbvecVectorStore, conditions: list[tuple[str, FilterOperator, object]], ids: set[str]
) -> None:
    retriever = CrdbvecRetriever(store, filters=filters(*conditions))
    assert {found.node.node_id for found in retriever.retrieve("two")} == ids


def test_what_is_not_supported_is_an_error(store: CrdbvecVectorStore) -> None:
    either = filters(("lang", FilterOperator.EQ, "en"), ("page", FilterOperator.EQ, 2))
    either.condition = FilterCondition.OR
    with pytest.raises(ConfigurationError, match="combined by AND only"):
        CrdbvecRetriever(store, filters=either).retrieve("two")
    with pytest.raises(ConfigurationError, match="is not supported"):
        CrdbvecRetriever(store, filters=filters(("lang", FilterOperator.TEXT_MATCH, "e"))).retrieve("two")
    with pytest.raises(ConfigurationError, match=r"is not supported\. Use the default mode"):
        store.query(VectorStoreQuery(query_str="two", mode=VectorStoreQueryMode.HYBRID))
    with pytest.raises(ConfigurationError, match="neither a text nor a vector"):
        store.query(VectorStoreQuery())
    with pytest.raises(ConfigurationError, match="needs the ids"):
        store.delete_nodes(filters=either)


def test_a_vector_is_searched_for(store: CrdbvecVectorStore) -> None:
    result = store.query(VectorStoreQuery(query_embedding=stub_vector("three").tolist(), similarity_top_k=1))
    assert result.ids == ["3"]


def test_nodes_are_read_and_deleted(store: CrdbvecVectorStore, connection: psycopg.Connection) -> None:
    (found,) = store.get_nodes(["2", "absent"])
    assert (found.node_id, found.metadata) == ("2", {"page": 2, "lang": "de", "ref_doc_id": "book"})
    store.delete("book")
    assert connection.execute("SELECT id FROM document").fetchall() == [("3",)]
    store.delete_nodes(["3"])
    assert connection.execute("SELECT id FROM document").fetchall() == []


def test_an_index_over_the_store_retrieves_by_text(store: CrdbvecVectorStore) -> None:
    model = MockEmbedding(embed_dim=STUB_DIM)
    index = VectorStoreIndex.from_vector_store(store, embed_model=model)
    assert [found.node.node_id for found in index.as_retriever(similarity_top_k=1).retrieve("three")] == ["3"]
    context = StorageContext.from_defaults(vector_store=store)
    VectorStoreIndex([TextNode(id_="4", text="four")], storage_context=context, embed_model=model)
    (found,) = CrdbvecRetriever(store, similarity_top_k=1).retrieve("four")
    assert found.node.node_id == "4"
    assert found.score == pytest.approx(1, abs=1e-6)
