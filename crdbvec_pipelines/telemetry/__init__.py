"""What a process tells about its work: metrics for Prometheus, and logs as JSON."""
