"""The sensor that follows a table: what it reads, what it decides, how long it waits after failed runs."""
