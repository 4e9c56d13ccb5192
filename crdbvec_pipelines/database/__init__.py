"""All SQL, and every difference between servers. Nothing outside this package writes SQL text."""
