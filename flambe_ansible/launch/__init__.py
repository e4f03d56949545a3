"""Launches: what one would do, what it did, and the state of a cluster."""
