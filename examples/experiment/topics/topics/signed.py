"""An experiment that runs on the data it was written for, and on no other."""

from __future__ import annotations

import hashlib
import hmac
import sys
from pathlib import Path

from flambe.experiment import Experiment

SECTION, OPTION = "TOPICS", "signing_key"


def sign(path: Path, key: str) -> str:
    """Sign a file: the HMAC-SHA256 of its content, in hex."""
    return hmac.new(key.encode(), path.read_bytes(), hashlib.sha256).hexdigest()


class SignedExperiment(Experiment):
    """Checks the signatures of its resources before the first stage.

    The key is a secret: ``signing_key`` in the section ``[TOPICS]`` of the secrets file, which flambé hands to every
    runnable as ``self.config``. Stages do not see it; they run on the factories, where no secrets are.

    Parameters
    ----------
    signatures: dict[str, str]
        The signature of each resource that is checked, by the resource's name.
    **kwargs
        What flambé's own Experiment takes.

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
                raise ValueError(f"the resource {name} is not what was signed: {path}")
        super().run(force=force, verbose=verbose, debug=debug, **kwargs)


if __name__ == "__main__":
    # python -m topics.signed FILE < KEY
    print(sign(Path(sys.argv[1]), sys.stdin.read().strip()))
