"""What pages show, worked out from what was read: no I/O, and no HTML."""
