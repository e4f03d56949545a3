"""A runnable of flambe-ansible that asks all hosts of a cluster the same questions."""

from survey.survey import Survey

__all__ = ["Survey"]
