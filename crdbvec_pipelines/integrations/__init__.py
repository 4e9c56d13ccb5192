"""Vector stores of other libraries over a vector column. Each module needs the extra that has its name."""
