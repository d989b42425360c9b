"""The doctor: what of an installation is wrong, looked at live, each with what to do about it.

`finding` has the words, `examine` runs checks side by side, `checks` knows which there are. The other modules look at
one thing each, and none of them changes anything.
"""
