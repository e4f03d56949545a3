"""Power this host off after it was idle for some time.

It runs with the host's Python 3.8 or later and needs no other packages; the folder is a program.
"""
