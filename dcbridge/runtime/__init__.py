"""What a process needs besides its work: log lines, metrics, its HTTP server, reloading, garbage collection."""
