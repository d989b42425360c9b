"""What an operator may see and do, for the command line and for HTTP alike: it reads, decides and acts, and neither
parses nor prints.
"""
