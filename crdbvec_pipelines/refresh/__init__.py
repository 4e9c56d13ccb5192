"""The refresh: read pending rows, encode them, write the vectors guarded. No Dagster and no SQL text."""
