"""The example's extension: flambé finds these classes as !topics.PatientTrainer and so on."""

from topics.signed import SignedExperiment
from topics.trainer import PatientTrainer
from topics.words import ContentWords

__all__ = ["ContentWords", "PatientTrainer", "SignedExperiment"]
