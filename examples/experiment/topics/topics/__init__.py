"""The example's extension. The tags of its classes are !topics.PatientTrainer and so on."""

from topics.signed import SignedExperiment
from topics.trainer import PatientTrainer
from topics.words import ContentWords

__all__ = ["ContentWords", "PatientTrainer", "SignedExperiment"]
