"""Sinks against real receivers."""
