"""The console in a browser: each page looked at, and a journey."""
