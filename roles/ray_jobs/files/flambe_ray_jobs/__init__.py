"""The jobs of a Ray cluster: commands that run on the head through Ray's Jobs API, with records that outlive Ray.

It runs with the host's Python 3.8 or later and needs no other packages. ``python -m`` is not needed: the folder is a
program.
"""
