"""Interaction events: what one is, who gets it, and how it is delivered."""
