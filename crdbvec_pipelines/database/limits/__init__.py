"""The load that all processes together put on the database of a table: rows per second, and connections."""
