"""The bridge between Genesys Digital Channels and SMS and email providers."""
