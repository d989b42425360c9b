"""What both sides of dcbridge know: words, wire, signature, errors, settings, ledger, providers."""
