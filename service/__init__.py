"""The door: verify, name, queue, answer."""
