"""A custom runnable that runs the same commands on all factories of a cluster."""

from survey.survey import Survey

__all__ = ["Survey"]
