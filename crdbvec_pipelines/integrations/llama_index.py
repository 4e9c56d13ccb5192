"""A vector column as a vector store and as a retriever of LlamaIndex. Needs the extra `llama-index`."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from crdbvec_pipelines.database.rows.documents import Document
from crdbvec_pipelines.database.search.filters import Filters
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.integrations.document_store import DocumentStore, FoundDocument
from crdbvec_pipelines.library import Column

_OPERATORS = {
    FilterOperator.EQ: "=",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
    FilterOperator.IN: "=",
    FilterOperator.NIN: "!=",
}
# The key of the metadata with the id of the document that a node is a part of.
_SOURCE = "ref_doc_id"


class CrdbvecVectorStore(BasePydanticVectorStore):
    """A vector store over a vector column of an existing table. Its rows are the nodes.

    The id of a node is its primary key, its text the input. The model of the column makes all vectors, so an index over
    this store needs no other one. `CrdbvecRetriever` needs no index at all.

    Args:
        column: The vector column, open for as long as the store is used.
        columns: Further columns of the table that become metadata of the nodes.
        metadata_column: A column of type jsonb, whose content becomes metadata. Nodes with metadata can be added only
            with it.
        embed_on_write: Embed pending rows after nodes were added.

    Raises:
        TableError: The key of the table or the input is not one column.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    flat_metadata: bool = False

    _store: DocumentStore = PrivateAttr()

    def __init__(
        self,
        column: Column,
        *,
        columns: Sequence[str] = (),
        metadata_column: str | None = None,
        embed_on_write: bool = True,
    ) -> None:
        super().__init__(stores_text=True, is_embedding_query=False)
        self._store = DocumentStore(column, columns, metadata_column, embed_on_write=embed_on_write)

    @property
    def client(self) -> Column:
        """The vector column."""
        return self._store.column

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Insert rows for nodes, or update the rows that have their ids. Vectors of the nodes are not used."""
        documents = [Document(node.node_id, node.get_content(MetadataMode.NONE), _metadata(node)) for node in nodes]
        return self._store.write(documents)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the rows of the nodes of one source document."""
        self._store.documents.delete_where([_SOURCE], ref_doc_id)

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """Delete the rows with ids; a deletion by filters is not supported."""
        if filters is not None or node_ids is None:
            raise ConfigurationError("delete_nodes needs the ids of the nodes; filters are not supported.")
        self._store.documents.delete(node_ids)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes with ids; filters are not supported."""
        if filters is not None or node_ids is None:
            raise ConfigurationError("get_nodes needs the ids of the nodes; filters are not supported.")
        return [
            TextNode(id_=each.id, text=each.text, metadata=dict(each.metadata))
            for each in self._store.documents.read(node_ids)
        ]

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """Return the nodes nearest to the text or the vector of a query.

        Raises:
            ConfigurationError: The query has a mode or a filter that is not supported.
        """
        if query.mode != VectorStoreQueryMode.DEFAULT:
            raise ConfigurationError(f"The mode {query.mode} is not supported. Use the default mode.")
        given = query.query_str if query.query_str is not None else query.query_embedding
        if given is None:
            raise ConfigurationError("The query has neither a text nor a vector.")
        found = self._store.search(given, query.similarity_top_k, _filters(query.filters))
        score = self._store.score(lambda distance: 1 - distance)
        return VectorStoreQueryResult(
            nodes=[_node(each) for each in found],
            similarities=[score(each.distance) for each in found],
            ids=[each.id for each in found],
        )


class CrdbvecRetriever(BaseRetriever):
    """A retriever of the nodes nearest to a text, without an index of LlamaIndex.

    Args:
        store: The vector store.
        similarity_top_k: The maximum number of nodes.
        filters: Which nodes.
    """

    def __init__(
        self, store: CrdbvecVectorStore, similarity_top_k: int = 10, filters: MetadataFilters | None = None
    ) -> None:
        self._store = store
        self._similarity_top_k = similarity_top_k
        self._filters = filters
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = VectorStoreQuery(
            query_str=query_bundle.query_str, similarity_top_k=self._similarity_top_k, filters=self._filters
        )
        result = self._store.query(query)
        pairs = zip(result.nodes or (), result.similarities or (), strict=True)
        return [NodeWithScore(node=node, score=score) for node, score in pairs]


def _node(found: FoundDocument) -> TextNode:
    return TextNode(id_=found.id, text=found.text, metadata=found.metadata)


def _metadata(node: BaseNode) -> Mapping[str, Any]:
    return {**node.metadata, **({_SOURCE: node.ref_doc_id} if node.ref_doc_id else {})}


def _filters(given: MetadataFilters | None) -> Filters | None:
    """Return filters of LlamaIndex as those of a search.

    Raises:
        ConfigurationError: They are not all to be true, or use an operator without a counterpart.
    """
    if given is None:
        return None
    if given.condition not in (None, FilterCondition.AND) and len(given.filters) > 1:
        raise ConfigurationError("Filters are combined by AND only. Write one filter with the operator in for OR.")
    filters: dict[str, dict[str, list[object]]] = {}
    for each in given.filters:
        if not isinstance(each, MetadataFilter) or each.operator not in {*_OPERATORS, FilterOperator.IS_EMPTY}:
            raise ConfigurationError(f"The filter {each} is not supported.")
        is_empty = each.operator == FilterOperator.IS_EMPTY
        values = [None] if is_empty else each.value if isinstance(each.value, list) else [each.value]
        operators = filters.setdefault(each.key, {})
        operator = "=" if is_empty else _OPERATORS[each.operator]
        if operator == "=" and "=" in operators:
            raise ConfigurationError(
                f"There are two filters for equality on {each.key}. Write one with the operator in."
            )
        operators.setdefault(operator, []).extend(values)
    return filters
