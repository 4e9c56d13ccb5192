"""The asset checks and the metadata that Dagster shows.

The meanings of the metadata are written here. A test compares their keys with those that the code reports.
"""

from collections.abc import Mapping

from crdbvec_pipelines.orchestration.assets.check_results import DESCRIPTIONS
from crdbvec_pipelines.orchestration.assets.index import CHECK_DESCRIPTIONS as INDEX_DESCRIPTIONS
from crdbvec_pipelines.orchestration.assets.search_quality import CHECK as SEARCH_QUALITY
from crdbvec_pipelines.orchestration.assets.search_quality import DESCRIPTION as SEARCH_QUALITY_DESCRIPTION

CHECKS: Mapping[str, Mapping[str, str]] = {
    "vector column": DESCRIPTIONS,
    "vector index": INDEX_DESCRIPTIONS,
    "vector index, otherwise vector column, if `checks.questions` names a file": {
        SEARCH_QUALITY: SEARCH_QUALITY_DESCRIPTION
    },
}
"""The checks by the asset to which they belong."""

METADATA: Mapping[str, Mapping[str, str]] = {
    "Definition of the vector column": {
        "dagster/table_name": "The table; also of the index and of the table's own asset.",
        "dagster/column_lineage": "The input columns of the vector column.",
        "dagster/code_references": "The entry in `crdbvec.yaml` and the file of the model wrapper.",
        "model": "The configured model.",
        "input": "The input columns, or the template.",
        "output": "The vector column.",
        "staleness": "How edited rows are found.",
        "target_lag": "The target lag, if one is configured.",
    },
    "Materialization of a partition": {
        "rows_embedded": "Rows that this run has given a vector.",
        "rows_per_second": "The rate of this run in this partition.",
        "rows_pending": "Rows that are pending afterwards.",
        "rows_failed": "Rows that the model or the database rejected in this run.",
        "seconds": "The duration.",
        "tokens_encoded": "Tokens that the model has read, if it counts them; also in `counts`.",
        "cost": "The price of these tokens by `price_per_million_tokens`.",
        "pictures": "For pictures: formats, quantiles of bytes and pixels, and rejected ones by reason, as JSON.",
        "contact_sheet": "With `contact_sheet`: some pictures of the partition, each with those nearest to it.",
        "dagster/partition_row_count": "The rows of the partition.",
        "chunks": "The chunks of the partition's rows, with `long_inputs: chunks`.",
        "chunks_per_row": "The chunks per embedded row, with `long_inputs: chunks`.",
        "dagster/column_schema": "The columns of the table, with those that this project has added.",
        "counts": "The following numbers, as JSON.",
        "summary": "The numbers as a table, with keys of failed rows.",
        "server": "Product and version of the database server.",
    },
    "`counts` of a materialization": {
        "rows_read": "Rows that this run has read.",
        "rows_stale": "Rows whose vector is that of an older input or model.",
        "rows_failed_recorded": "Rows that are recorded as failed.",
        "rows_deferred": "Failed rows that are excluded until their next retry.",
        "rows_blank": "Rows without an input.",
        "rows_arrived_meanwhile": "Rows that became pending during the run and are still pending.",
        "rows_changed_meanwhile": "Rows that were edited or deleted between read and write.",
        "rows_truncated": "Embedded rows whose input is longer than the window of the model.",
        "rows_unreadable": "Embedded rows of whose tokens the model does not know most.",
        "rows_deduplicated": "Embedded rows that were given the vector of an equal input.",
        "rows_cleared": "Rows whose vector was removed because their input is blank.",
        "batches": "Batches that were encoded.",
        "retries": "Statements that were sent again after an error.",
    },
    "Observation of the vector column": {
        "rows_pending": "Pending rows that indexes find; from the follow sensor.",
        "lag_seconds": "The lag, with `target_lag`; from the follow sensor.",
        "lag_p50_seconds": "The median of the lag in the last day.",
        "lag_p99_seconds": "The 99th percentile of the lag in the last day.",
        "tokens_last_day": "The tokens of the materializations of the last day; from maintenance.",
        "cost_last_day": "Their price.",
        "profile": "What the texts of a sample are like, and which settings that suggests; from maintenance.",
        "tokens_median": "The median number of tokens of these texts, untruncated.",
        "tokens_lost": "The share of their tokens that are in no vector.",
        "truncated": "The share of these texts that are longer than the window of the model.",
        "rows_embedded_before_retry": "Rows by partition that an attempt had embedded before the run was retried.",
    },
    "Observation of both vector columns by the jobs of a model migration": {
        "phase": "The phase of the migration afterwards.",
        "seconds": "The duration of the transaction of a switch or a rollback.",
        "second": "The second column.",
        "partitions": "The partitions of the second column.",
        "configuration": "What became of the configuration file.",
        "queries": "The compared queries.",
        "overlap_at_10": "The mean overlap of the ten nearest rows.",
        "overlap_at_10_interval": "Its 95% confidence interval.",
        "rank_correlation": "The mean of Spearman's correlation of the ranks.",
        "questions": "The judged questions.",
        "ndcg_difference": "How much higher nDCG is in the second column.",
        "ndcg_difference_interval": "Its 95% confidence interval.",
        "columns": "A table with one row for each column, with the following keys.",
        "column": "The column.",
        "model": "The model of its vectors.",
        "p50_ms": "The median latency of a search.",
        "p95_ms": "Its 95th percentile.",
        "mean_distance": "The mean distance of the nearest rows.",
        "vector_bytes": "The size of the vectors.",
        "index_bytes": "The size of the index.",
        "lowest_overlap": "The queries with the lowest overlap, with keys of rows.",
        "plot": "The overlaps and the latencies as a plot, with judged questions also recall and nDCG.",
    },
    "Check of the vector column": {
        "share": "The share that the check compares with its limit.",
        "rows": "The rows.",
        "rows_embedded": "Rows with a current vector.",
        "rows_pending": "Pending rows.",
        "rows_blank": "Rows without an input.",
        "oldest_pending_seconds": "The age of the oldest pending row, with `updated_at`.",
        "rows_drifted": "Rows whose fingerprint does not match their input.",
        "rows_hashed": "Rows whose input was hashed.",
        "vectors": "The vectors that were examined.",
        "wrong_dimension": "Vectors of another dimension than the model's.",
        "not_finite": "Vectors with a number that is not finite.",
        "zero": "Vectors whose length is zero.",
        "smallest_norm": "The smallest length of a vector.",
        "largest_norm": "The largest length of a vector.",
        "rows_failed": "Rows that are recorded as failed. When the check is executed by hand, also their number by "
        "status.",
        "rows_deferred": "Failed rows that are excluded until their next retry.",
        "rows_sampled": "Rows of the sample; 0 for a model that does not count tokens.",
        "unknown_tokens": "The share of tokens of the sample that the model does not know.",
        "tokens_per_row": "The mean number of tokens of an input.",
        "encoded_tokens_per_row": "The mean number of tokens that the model reads of it.",
        "partitions_failing": "Partitions whose latest result did not pass.",
        "lag_seconds": "The lag now.",
        "target_lag_seconds": "The target lag.",
        "p50_seconds": "The median of the lag in the last day.",
        "p99_seconds": "The 99th percentile of the lag in the last day.",
        "measurements": "How many measurements of the last day there are.",
    },
    "Materialization of the index": {
        "built": "1 if the index was built by this run, 0 if it was up to date.",
        "seconds": "The duration.",
        "dagster/size_bytes": "The size of the index, if the server shows it.",
        "table_bytes": "The size of the table with its indexes, if the server shows it.",
        "vectors": "The vectors of the column.",
        "full_precision_bytes": "The size of these vectors in full precision.",
        "index": "The name of the index.",
        "metric": "Its metric.",
        "prefix": "Its prefix columns.",
        "text_index": "The name of the text index, if one is configured.",
        "text_index_built": "1 if it was built by this run.",
        "prediction_rows_simulated": "With `{predict: true}`: the rows of the sample.",
        "prediction_sizes": "The predicted size of the index, by its settings.",
        "prediction_searches": "The predicted recall and work of a search, by the settings and the beam size.",
        "prediction_curve": "Both as a plot.",
        "prediction_recommended": "The recommended settings, with reasons.",
    },
    "Check of the index": {
        "searches_planned": "`index_used`: the searches whose query plan was read.",
        "searches_by_index": "Those that use the index.",
        "used by ...": "Whether a form of search uses the index, for each form.",
        "plan": "A query plan.",
        "k": "`recall_at_k`: the number of hits that are compared.",
        "queries": "The queries.",
        "recall": "The share of the rows of an exact search that the index finds.",
        "worst_query": "The recall of the worst query.",
        "p50_ms": "The median of the duration of a search.",
        "p95_ms": "The 95th percentile of the duration of a search.",
        "exact_p50_ms": "The median of the duration of an exact search.",
        "smallest_effort": "The smallest search effort that reaches `index.wanted_recall`; -1 if none does.",
        "measurements": "The measurements, one for each search effort.",
        "curve": "Recall and duration as a plot.",
    },
    "Check `search_quality`": {
        "questions": "The questions.",
        "ndcg ...": "nDCG of the first ten hits, for each mode of search.",
        "recall ...": "The share of the relevant rows in the first ten hits, for each mode.",
        "mrr ...": "The mean reciprocal rank of the first relevant row, for each mode.",
        "plot": "nDCG by kind of question.",
    },
}
"""Key and meaning of each metadata value, by where it is shown. `...` stands for a part that depends on the values."""


def checks() -> str:
    """Return the page of the checks."""
    page = (
        "# Asset checks\n\n[Freshness](../freshness.md#the-checks) says when they are evaluated, "
        "[metadata](metadata.md) what they report. Their limits are keys of "
        "[crdbvec.yaml](../configuration.md#checks-what-the-asset-checks-require).\n\n"
        "| check | asset | what it states |\n|---|---|---|\n"
    )
    rows = ((name, asset, text) for asset, texts in CHECKS.items() for name, text in texts.items())
    return page + "".join(f"| `{name}` | {asset} | {text} |\n" for name, asset, text in rows)


def metadata() -> str:
    """Return the page of the metadata."""
    page = (
        "# Metadata\n\nWhat Dagster shows for each event of an asset. The UI plots each number. The observation of a "
        "[model migration](../migration.md) contains what `crdbvec migrate compare --json` prints, and `phase`.\n"
    )
    for place, keys in METADATA.items():
        page += f"\n## {place}\n\n| key | meaning |\n|---|---|\n"
        page += "".join(f"| `{key}` | {meaning} |\n" for key, meaning in keys.items())
    return page
