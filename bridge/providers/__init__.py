"""The table of providers: one line each. Adding one is a file, a line here, a table of test rows and a page."""
