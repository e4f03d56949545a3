"""A small data set: noisy pictures of ten random patterns. The tasks on the factories import this module."""

from __future__ import annotations

import numpy as np


def make_digits(count: int, *, seed: int, size: int = 64, noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, one row of ``size`` pixels each, and their labels from 0 to 9."""
    patterns = np.random.default_rng(42).normal(size=(10, size))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    return patterns[labels] + noise * random.normal(size=(count, size)), labels
