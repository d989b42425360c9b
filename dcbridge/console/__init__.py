"""The console: what is on duty in a browser, and the same as JSON. A process of its own, `dcbridge console serve`."""
