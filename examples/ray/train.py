"""Search the learning rate of a logistic regression with Ray Tune: 8 trials on the factories.

python train.py [--trials N] [--steps N]
"""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import ray
from digits import make_digits
from ray import tune


def train(config: dict[str, Any]) -> None:
    """Train one model, and report its loss and accuracy after each step. It runs on a factory."""
    random = np.random.default_rng(config["seed"])
    inputs, labels = make_digits(2000, seed=0)
    held_inputs, held_labels = make_digits(500, seed=1)
    weights = np.zeros((inputs.shape[1], 10))
    for _ in range(config["steps"]):
        for batch in np.array_split(random.permutation(len(inputs)), 20):
            chances = softmax(inputs[batch] @ weights)
            chances[np.arange(len(batch)), labels[batch]] -= 1
            weights -= config["lr"] * inputs[batch].T @ chances / len(batch)
        held = softmax(held_inputs @ weights)
        loss = -np.log(held[np.arange(len(held)), held_labels] + 1e-9).mean()
        accuracy = (held.argmax(axis=1) == held_labels).mean()
        tune.report({"loss": float(loss), "accuracy": float(accuracy), "host": socket.gethostname()})


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes for each row of scores."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def main() -> None:
    """Run the trials, and print the best one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    ray.init(logging_level="ERROR")
    space = {"lr": tune.loguniform(1e-3, 1.0), "seed": tune.randint(0, 1000), "steps": options.steps}
    tuner = tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=options.trials),
        run_config=tune.RunConfig(name=f"digits-{os.environ.get('FLAMBE_JOB_ID', 'local')}", verbose=1),
    )
    results = tuner.fit()
    hosts = sorted({one.metrics["host"] for one in results})
    best = results.get_best_result()
    print(f"{len(results)} trials on {', '.join(hosts)}")
    print(f"best: lr {best.config['lr']:.4f}, accuracy {best.metrics['accuracy']:.3f}")
    folder = Path("results")
    folder.mkdir(exist_ok=True)
    results.get_dataframe().to_csv(folder / "trials.csv", index=False)


if __name__ == "__main__":
    main()
