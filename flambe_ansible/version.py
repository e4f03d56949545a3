"""The version of this package; pyproject.toml and galaxy.yml have the same."""

__version__ = "0.1.0"
