"""An experiment that only runs on signed data."""

from __future__ import annotations

import hashlib
import hmac
import sys
from pathlib import Path

from flambe.experiment import Experiment

SECTION, OPTION = "TOPICS", "signing_key"


def sign(path: Path, key: str) -> str:
    """Return the HMAC-SHA256 of a file's content, in hex."""
    return hmac.new(key.encode(), path.read_bytes(), hashlib.sha256).hexdigest()


class SignedExperiment(Experiment):
    """Checks the signatures of its resources before the first stage.

    The key is a secret: ``signing_key`` in the section ``[TOPICS]`` of the secrets file, which flambé passes to every
    runnable as ``self.config``. Stages cannot read it: they run on the factories, which do not get the secrets.

    Parameters
    ----------
    signatures: dict[str, str]
        The signatures of the resources to check, by name.
    **kwargs
        The arguments of flambé's Experiment.

    """

    def __init__(self, signatures: dict[str, str] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.signatures = signatures or {}

    def run(self, force: bool = False, verbose: bool = False, debug: bool = False, **kwargs) -> None:
        """Check the resources, then run the experiment."""
        if not self.config.has_option(SECTION, OPTION):
            raise ValueError(f"the secrets file has no {OPTION} in a section [{SECTION}]")
        key = self.config.get(SECTION, OPTION, raw=True)
        for name, signature in self.signatures.items():
            path = Path(self.resources[name]).expanduser()
            if not hmac.compare_digest(sign(path, key), signature):
                raise ValueError(f"the resource {name} does not match its signature: {path}")
        super().run(force=force, verbose=verbose, debug=debug, **kwargs)


if __name__ == "__main__":
    # python -m topics.signed FILE < KEY
    print(sign(Path(sys.argv[1]), sys.stdin.read().strip()))
