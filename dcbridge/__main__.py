"""`python -m dcbridge` is `dcbridge`."""

from dcbridge.cli import main

main()
