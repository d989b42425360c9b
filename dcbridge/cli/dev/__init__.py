"""`dcbridge dev` and `dcbridge demo`: every process on one computer."""
