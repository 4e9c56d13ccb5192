"""How good searches of two vector columns are for the same questions with known answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.search.evaluation import DEFAULT_K, Difference, Evaluation, Quality, difference
from crdbvec_pipelines.search.questions import Question
from crdbvec_pipelines.search.searcher import Searcher


@dataclass(frozen=True)
class Judged:
    """The quality of searches by vectors in two columns.

    Attributes:
        k: The number of hits that count.
        first: The quality of the first column.
        second: That of the second column.
        difference: How much better the second one is, question by question; its interval contains 0 if the questions
            do not show a difference.
    """

    k: int
    first: Quality
    second: Quality
    difference: Difference


def judge_columns(
    columns: tuple[BoundColumn, BoundColumn],
    encoders: tuple[Encoder, Encoder],
    questions: Sequence[Question],
    k: int = DEFAULT_K,
) -> Judged:
    """Return how good searches of two columns are.

    Args:
        columns: The columns.
        encoders: Their models.
        questions: The questions; at least one.
        k: The number of hits that count.

    Raises:
        TableError: A filter of a question names a column that does not exist.
        ColumnExchanged: The columns were exchanged in the meantime.
    """
    of_first, of_second = (
        Evaluation(Searcher(column.database, column.spec, encoder), questions, k)
        for column, encoder in zip(columns, encoders, strict=True)
    )
    first, second = (each.qualities(["vector"])[0] for each in (of_first, of_second))
    return Judged(k, first, second, difference(of_first, of_second, "vector"))
