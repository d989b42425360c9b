"""The same as JSON, below /api/v1/, a module for each thing; `ROUTES` of each is found by app.py."""
