"""Inbound email: what a stranger's mail says, read in bounded time and without I/O."""
