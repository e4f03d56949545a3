"""A trainer with early stopping."""

from flambe.learn import Trainer
from flambe.logging import log


class PatientTrainer(Trainer):
    """Stops when the validation metric has not improved for some steps.

    Parameters
    ----------
    patience: int
        The number of steps without improvement after which training stops.
    **kwargs
        The arguments of flambé's Trainer; ``max_steps`` still limits the training.

    """

    def __init__(self, patience: int = 3, **kwargs) -> None:
        super().__init__(**kwargs)
        self.patience = patience
        self._stale_steps = 0
        self.register_attrs("_stale_steps")

    def run(self) -> bool:
        """Train one step and return whether to continue."""
        best_before = self._best_metric
        goes_on = super().run()
        improved = best_before is None or self._best_metric != best_before
        self._stale_steps = 0 if improved else self._stale_steps + 1
        log("Training/Stale_Steps", self._stale_steps, self._step)
        if not goes_on or self._stale_steps < self.patience:
            return goes_on
        # As flambé's trainer does after its last step: later stages get the best model.
        self._step = self.max_steps
        self.model.cpu()
        self.model.load_state_dict(self._best_model, strict=False)
        return False
