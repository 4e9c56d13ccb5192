"""The chunk table of an entry with `long_inputs: chunks`: its definition, its statements, and the writes of chunks."""
