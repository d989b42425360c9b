"""What the ledger tells a person: the books, what runs and waits, which conversations wait for whom."""
