"""What this project needs of a Dagster instance: its storage, the work in progress, events from outside of runs."""
