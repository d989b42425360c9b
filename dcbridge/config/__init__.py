"""bridge.yaml: its models, how it is read, what is checked, and its reference page."""
