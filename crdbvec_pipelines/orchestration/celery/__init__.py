"""Runs on several machines by Celery: run launcher, worker, and the checks before a worker takes runs."""
