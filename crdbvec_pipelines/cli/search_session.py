"""Searches of one command on one vector column: the model is loaded once, and results are printed as text."""

from collections.abc import Sequence
from pathlib import Path

from crdbvec_pipelines.cli.hits import hit_text, layout_for, result_words
from crdbvec_pipelines.cli.output import output_stream, print_info, print_text
from crdbvec_pipelines.cli.search_options import SearchOptions
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.search.result import SearchResult
from crdbvec_pipelines.search.searcher import Searcher


class SearchSession:
    """Searches with the options of a command.

    Args:
        database: The open database.
        searcher: The searches over the column.
        encoder: Its model.
        options: The options of the command.

    Raises:
        ConfigurationError: A condition is not valid.
    """

    def __init__(self, database: Database, searcher: Searcher, encoder: Encoder, options: SearchOptions) -> None:
        self.searcher = searcher
        self.query = options.query_on(searcher.column.table)
        self._options = options
        self._encoder = encoder
        if searcher.warning is not None and self.query.mode != "keyword":
            print_info(f"Warning: {searcher.warning}")
        self._layout = layout_for(output_stream(), is_full=options.is_full)
        if options.is_verbose:
            key = ", ".join(f"{part.name} ({part.cast})" for part in searcher.column.table.key)
            # As in the CockroachDB Vector Embedding Toolkit.
            print_info(f"PK: {key}")
            print_info(f"Distance: {DISTANCES[searcher.column.metric].meaning}")
        if self.query.as_of == "follower_read" and database.dialect.vectors.follower_read_clause is None:
            print_info(f"{database.dialect.display_name} has no follower reads; the search reads current data.")

    def search_texts(self, texts: Sequence[str], query: SearchQuery | None = None) -> list[SearchResult]:
        """Return the result of each text; with -v, how much of a long text the model reads is printed."""
        results = self.searcher.search_texts(texts, query or self.query)
        if self._options.is_verbose:
            for text, count in zip(texts, self._encoder.read_tokens(texts) or (), strict=False):
                if count.encoded is not None and count.encoded < count.total:
                    print_info(
                        f"The model reads the first {count.encoded:,} of the {count.total:,} tokens of the query "
                        f"({count.encoded / count.total:.0%}): {text[:40]!r}..."
                    )
        return results

    def search_like(
        self, key: Sequence[str], query: SearchQuery | None = None, *, all_prefixes: bool = False
    ) -> SearchResult:
        """Return the rows similar to a row, within its tenant; the conditions that this adds are printed."""
        query = query or self.query
        result = self.searcher.search_like(key, query, all_prefixes=all_prefixes)
        added = {
            name: value for name, value in (result.executed.filters or {}).items() if name not in (query.filters or {})
        }
        if added:
            shown = ", ".join(f"{name} = {value}" for name, value in added.items())
            print_info(f"Only rows with {shown}, as in this row; --all-prefixes searches all rows.")
        return result

    def search_picture(self, file: Path) -> SearchResult:
        """Return the rows nearest to an image file."""
        return self.searcher.search_vector(self._encoder.encode_picture(file.read_bytes()), self.query)

    def print_result(self, result: SearchResult, *, is_text: bool, with_query: bool = False) -> None:
        """Print the hits of a search as text."""
        if with_query:
            print_text(f"\n{result.query}:")
        words = result_words(result, is_text=is_text)
        for hit in result.hits:
            print_text(f"\n{hit_text(hit, self._layout, words)}")

    def print_notes(self, result: SearchResult) -> None:
        """Print why there are no hits, and how the search was executed."""
        if not result.hits:
            print_info(f"No hits: {self.searcher.why_no_hits(result)}")
        if result.equal_hits:
            print_info(
                f"{result.equal_hits:,} hits with the same text as an earlier one are not shown; "
                "--no-distinct shows them."
            )
        # A filter may change the strategy and with it the cost of the search.
        if self._options.is_verbose or (self.query.filters and not self.query.exact):
            print_info(result.reason)
