"""What it costs to watch a PyTorch model: the lens beside other ways of looking at its gradients.

Usage: python benchmarks/lens.py [--short] [--threads N] [--task NAME] [--rounds N]

First it is shown that a watched step gives the same gradients, bit for bit, and that the lens and hooks that take
`.norm().item()` agree on every module's error. Then all ways are timed in turn, round after round, on copies of
one model; the table shows the median of their times over the plain step's in the same round. wandb and Cockpit
are timed where they are installed. `--short` takes few steps: its times mean nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deltarule.cores import cores
from deltarule.lens import watch
from deltarule.records import text_table


class Block(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, width: int = 128, blocks: int = 4, words: int = 1000, length: int = 64) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, width), nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.place)).mean(1))


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.past = nn.Identity() if stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.past(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def dense() -> nn.Module:
    layers = [layer for _ in range(9) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def resnet() -> nn.Module:
    blocks = [
        Residual(16, 16, 1),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 32, 1),
        Residual(32, 64, 2),
        Residual(64, 64, 1),
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


@dataclass(frozen=True)
class Task:
    """A training step that is timed."""

    name: str
    what: str
    model: Callable[[], nn.Module]
    data: Callable[[], Tensor]


TASKS = [
    Task("dense", "10 layers of 256, batch 128", dense, lambda: torch.randn(128, 256)),
    Task("transformer", "4 blocks of 128, 64 words, batch 16", Transformer, lambda: torch.randint(0, 1000, (16, 64))),
    Task(
        "resnet", "13 convolutions of 16 to 64, 32 x 32 pixels, batch 32", resnet, lambda: torch.randn(32, 3, 32, 32)
    ),
]


class Trainer:
    """A model of its own with a way of looking at it."""

    def __init__(self, task: Task, look: str) -> None:
        torch.manual_seed(0)
        self.model, self.x = task.model(), task.data()
        self.y = torch.randint(0, 10, (len(self.x),))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        self.look, self.seen, self.closing = look, {}, ExitStack()
        self.around: Callable[[int, Tensor], Any] = lambda step, loss: nullcontext()
        self.loss = nn.CrossEntropyLoss()
        getattr(self, look.replace(".", " ").split()[0], lambda: None)()
        self.steps = 0

    def lens(self) -> None:
        every = int(self.look.rpartition("=")[2])
        self.watch = self.closing.enter_context(watch(self.model, every=every))

    def hooks(self) -> None:
        def hook(name: str) -> Callable[..., None]:
            def take(module: nn.Module, into: Any, out: Any) -> None:
                self.seen[name] = out[0].norm().item()

            return take

        for name, module in self.model.named_modules():
            if not list(module.children()):
                module.register_full_backward_hook(hook(name))

    def detect_anomaly(self) -> None:
        warnings.filterwarnings("ignore", message="Anomaly Detection")
        self.closing.enter_context(torch.autograd.detect_anomaly())

    def wandb(self) -> None:
        import wandb

        folder = self.closing.enter_context(tempfile.TemporaryDirectory())
        os.environ["WANDB_SILENT"] = "true"
        run = wandb.init(mode="offline", dir=folder, reinit="finish_previous")
        self.closing.callback(run.finish)
        run.watch(self.model, log="gradients", log_freq=1)

    def cockpit(self) -> None:
        from backpack import extend
        from cockpit import Cockpit
        from cockpit.utils.configuration import configuration

        extend(self.model), extend(self.loss)
        cockpit = Cockpit(self.model.parameters(), quantities=configuration("economy"))
        apart = nn.CrossEntropyLoss(reduction="none")

        def around(step: int, loss: Tensor) -> Any:
            info = {
                "batch_size": len(self.x),
                "individual_losses": apart(self.out, self.y),
                "loss": loss,
                "optimizer": self.optimizer,
            }
            return cockpit(step, info=info)

        self.around = around

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.out = self.model(self.x)
        loss = self.loss(self.out, self.y)
        with self.around(self.steps, loss):
            loss.backward()
        self.optimizer.step()
        self.steps += 1

    def seconds(self, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - started) / steps


LOOKS = ["plain", "lens every=1", "lens every=16", "hooks with .item()", "detect_anomaly", "wandb.watch", "cockpit"]


def require_agreement(task: Task) -> None:
    """A watched step gives the gradients of a plain one, and the lens sees what hooks see."""
    plain, lens, hooks = (Trainer(task, look) for look in ("plain", "lens every=1", "hooks with .item()"))
    for one in (plain, lens, hooks):
        one.step()
        one.closing.close()
    for before, after in zip(plain.model.parameters(), lens.model.parameters(), strict=True):
        if not torch.equal(before.grad, after.grad):
            raise SystemExit(f"{task.name}: a watched step gives other gradients")
    seen = {move.name: move.norm_in for move in lens.watch.rows if move.step in ("weights", "normalisation")}
    both = seen.keys() & hooks.seen.keys()
    off = [name for name in both if not math.isclose(seen[name], hooks.seen[name], rel_tol=1e-4)]
    if off or len(both) < 10:
        raise SystemExit(f"{task.name}: the lens and hooks do not agree on {off or 'enough modules'}")


def times_of(task: Task, looks: list[str], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step, round by round, of each way that works here."""
    trainers: dict[str, Trainer] = {}
    times: dict[str, list[float]] = {}
    for look in looks:
        try:
            trainers[look] = Trainer(task, look)
            trainers[look].seconds(3)
        except ImportError as error:
            trainers.pop(look, None)
            print(f"{look} is left out: {error}", file=sys.stderr)
        except Exception as error:  # what another program cannot do is not ours to mend
            trainers.pop(look, None)
            print(f"{look} failed on {task.name}: {type(error).__name__}: {str(error)[:80]}", file=sys.stderr)
        if look == "detect_anomaly":  # it is a switch for the whole process
            trainers[look].closing.close()
    for _ in range(rounds):
        for look, trainer in trainers.items():
            with torch.autograd.detect_anomaly() if look == "detect_anomaly" else nullcontext():
                times.setdefault(look, []).append(trainer.seconds(steps))
    for trainer in trainers.values():
        trainer.closing.close()
    return times


def measured(task: Task, rounds: int, steps: int) -> list[str]:
    """A row of the table. What works in the background, or takes long, comes after the rest."""
    require_agreement(task)
    ratios: dict[str, str] = {}
    base: list[float] = []
    for looks, few in ((LOOKS[:5], 1), (["plain", "wandb.watch"], 3), (["plain", "cockpit"], 8)):
        times = times_of(task, looks, max(1, rounds // few), max(1, steps // few))
        plain = times.pop("plain")
        base = base or plain
        for look, own in times.items():
            ratio = statistics.median(a / b for a, b in zip(own, plain, strict=True))
            ratios[look] = f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"
    print(f"{task.name} done", file=sys.stderr)
    return [
        task.name,
        task.what,
        f"{1e3 * statistics.median(base):.1f}",
        *(ratios.get(look, "") for look in LOOKS[1:]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few steps: shows that it runs, not how fast")
    parser.add_argument("--threads", type=int, default=cores(), help="of PyTorch; all cores, if not given")
    parser.add_argument("--task", choices=[task.name for task in TASKS], help="only this one")
    parser.add_argument("--rounds", type=int, default=15, help="how often each way is timed")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rounds, steps = (1, 2) if given.short else (given.rounds, 16)
    rows = [measured(task, rounds, steps) for task in TASKS if given.task in (None, task.name)]
    print(f"{given.threads} thread(s){', too short to mean anything' if given.short else ''}")
    print(text_table(["task", "what", "plain ms", *LOOKS[1:]], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
