"""Everything that imports Dagster, one concept a module. `build` puts the pieces together."""
