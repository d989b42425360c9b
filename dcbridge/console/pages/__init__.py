"""The pages, a module each; `ROUTES` of each is found by app.py."""
