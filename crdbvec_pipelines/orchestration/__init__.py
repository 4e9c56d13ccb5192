"""Everything that imports Dagster, one concept per module. `build` combines the parts."""
