"""SMPP 3.4 as bytes: its units, its alphabets, long messages. No I/O, and nothing of a provider's meaning."""
