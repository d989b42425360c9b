"""The HTTP entry point: verify, name, queue, answer."""
