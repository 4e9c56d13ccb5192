"""Long texts in several chunks, each with its own vector: dividing texts, and encoding the chunks of many rows."""
