"""Programs of others that judge the sandbox and our clients: `make judges`."""
