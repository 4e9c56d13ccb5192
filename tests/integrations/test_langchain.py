"""The vector store of LangChain: LangChain's own standard tests, and what they do not cover."""

import psycopg
import pytest

pytest.importorskip("langchain_tests", reason="needs the packages langchain-core and langchain-tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from crdbvec_pipelines import Column, ConfigurationError, TableError
from crdbvec_pipelines.integrations.langchain import CrdbvecVectorStore
from tests.support.models import stub_vector

TEXTS = ["one", "two", "three"]
METADATAS = [{"lang": "en", "page": 1}, {"lang": "de", "page": 2}, {"lang": "en", "page": 3}]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(documents: Column) -> CrdbvecVectorStore:
    filled = CrdbvecVectorStore(documents, columns=["year"], metadata_column="metadata")
    filled.add_texts(TEXTS, METADATAS, ids=["1", "2", "3"])
    return filled


@pytest.mark.anyio
class TestStandardVectorStore(VectorStoreIntegrationTests):
    """LangChain's standard tests of a vector store, synchronous and asynchronous."""

    @pytest.fixture
    def vectorstore(self, documents: Column) -> VectorStore:
        return CrdbvecVectorStore(documents, metadata_column="metadata")


@pytest.mark.anyio
class TestStandardRetriever(RetrieversIntegrationTests):
    """LangChain's standard tests of a retriever, over the store."""

    @pytest.fixture(autouse=True)
    def _filled(self, store: CrdbvecVectorStore) -> None:
        self._store = store

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return _Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"vectorstore": self._store, "k": 2}

    @property
    def retriever_query_example(self) -> str:
        return "two"


class _Retriever(VectorStoreRetriever):
    """A retriever that takes k as the standard tests give it: the argument of a vector store's retriever is nested."""

    def __init__(self, *, vectorstore: VectorStore, k: int) -> None:
        super().__init__(vectorstore=vectorstore, search_kwargs={"k": k})


def contents(documents: list[Document]) -> list[str]:
    return [each.page_content for each in documents]


def test_documents_have_the_key_the_columns_and_the_metadata(
    store: CrdbvecVectorStore, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE document SET year = 1999 WHERE id = '2'")
    (document,) = store.similarity_search("two", k=1)
    assert document == Document(id="2", page_content="two", metadata={"year": 1999, "lang": "de", "page": 2})


def test_filters_are_on_columns_and_on_metadata(store: CrdbvecVectorStore, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE document SET year = 1990 + id::INT4")
    assert set(contents(store.similarity_search("two", filter={"lang": "en"}))) == {"one", "three"}
    assert contents(store.similarity_search("two", filter={"page": {">": 1}, "lang": "en"})) == ["three"]
    assert contents(store.similarity_search("two", filter={"year": 1991})) == ["one"]
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"lang": ["de"]}})
    assert contents(retriever.invoke("anything")) == ["two"]


def test_scores_and_vectors(store: CrdbvecVectorStore) -> None:
    ((document, distance),) = store.similarity_search_with_score("two", k=1)
    assert document.page_content == "two"
    assert distance == pytest.approx(0, abs=1e-6)
    ((document, score),) = store.similarity_search_with_relevance_scores("two", k=1)
    assert document.page_content == "two"
    assert score == pytest.approx(1, abs=1e-6)
    vector = store.embeddings.embed_query("three")
    assert vector == pytest.approx(stub_vector("three").tolist())
    assert store.embeddings.embed_documents(["three"]) == [pytest.approx(vector)]
    assert contents(store.similarity_search_by_vector(vector, k=1)) == ["three"]


def test_marginal_relevance_prefers_documents_that_differ(store: CrdbvecVectorStore) -> None:
    store.add_texts(["two", "two"], ids=["4", "5"])
    assert contents(store.similarity_search("two", k=2)) == ["two", "two"]
    first, second = contents(store.max_marginal_relevance_search("two", k=2, lambda_mult=0))
    assert (first, second == "two") == ("two", False)


def test_an_updated_document_has_the_vector_of_its_new_text(store: CrdbvecVectorStore) -> None:
    store.add_texts(["seven"], ids=["1"])
    ((document, distance),) = store.similarity_search_with_score("seven", k=1)
    assert document.id == "1"
    assert distance == pytest.approx(0, abs=1e-6)


def test_documents_without_embedding_are_found_after_it(documents: Column) -> None:
    store = CrdbvecVectorStore(documents, embed_on_write=False)
    store.add_texts(["one"])
    assert store.similarity_search("one") == []
    documents.embed()
    assert contents(store.similarity_search("one")) == ["one"]


def test_a_store_from_texts(documents: Column) -> None:
    store = CrdbvecVectorStore.from_texts(["one"], None, column=documents)
    assert contents(store.similarity_search("one")) == ["one"]
    with pytest.raises(ConfigurationError, match="Pass embedding=None"):
        CrdbvecVectorStore.from_texts(["one"], DeterministicFakeEmbedding(size=8), column=documents)
    with pytest.raises(ConfigurationError, match="needs the argument column"):
        CrdbvecVectorStore.from_texts(["one"])


def test_what_cannot_be_written_is_an_error(documents: Column) -> None:
    store = CrdbvecVectorStore(documents)
    with pytest.raises(TableError, match=r"The documents have metadata, but no column of public\.document is given"):
        store.add_texts(["one"], [{"page": 1}])
    with pytest.raises(ValueError, match="There are 2 texts, 2 metadata and 1 ids"):
        store.add_texts(["one", "two"], ids=["1"])
    with pytest.raises(ValueError, match="delete needs the ids"):
        store.delete()
    with pytest.raises(TableError, match=r"public\.document has no column year of type jsonb for metadata"):
        CrdbvecVectorStore(documents, metadata_column="year")
