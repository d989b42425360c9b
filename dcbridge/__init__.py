"""The command line: it starts the rooms of the house and imports them all; none imports it."""
