"""`python -m dcbridge` is `dcbridge`."""

from dcbridge.cli.app import main

main()
