"""Train a small network with torch on each factory, and average their accuracies.

Needs torch in the runtime: `packages: [torch]`, or a wheel, `packages: [wheels/torch-2.13.0-...whl]`.
"""

from __future__ import annotations

import socket

import ray
import torch
from digits import make_digits


@ray.remote(num_cpus=1)
def train(seed: int) -> tuple[str, str, float]:
    """Train one network; return the host, the device and the accuracy."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    (inputs, labels), (held, held_labels) = make_digits(2000, seed=0), make_digits(500, seed=1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pictures, targets = (torch.tensor(one, device=device) for one in (inputs, labels))
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pictures.float()), targets).backward()
        optimizer.step()
    with torch.no_grad():
        guesses = model(torch.tensor(held, device=device).float()).argmax(dim=1).cpu()
    return socket.gethostname(), device, float((guesses == torch.tensor(held_labels)).float().mean())


if __name__ == "__main__":
    ray.init(logging_level="ERROR")
    for host, device, accuracy in ray.get([train.remote(seed) for seed in range(4)]):
        print(f"{host}: accuracy {accuracy:.3f} on {device}")
