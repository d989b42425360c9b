"""Both outside worlds, pretended and strict: Digital Channels, SMS companies, a mail server and a page to watch them.

For `dcbridge dev` and for the tests. Nothing that carries real messages imports this package.
"""
