"""The chart, and what of it is written from the code."""
