"""Healthy PyTorch models of ten kinds and more, each with a task on the embedded digits and its loss."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deltarule import data


def digits(count: int = 256) -> tuple[Tensor, Tensor]:
    x, y = data.digits().train
    return torch.tensor(x[:count]), torch.tensor(y[:count], dtype=torch.long)


class Residual(nn.Module):
    """A basic block of a ResNet; a change of width goes through a convolution on the way past it."""

    def __init__(self, before: int, after: int, skip: bool = True) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.past = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.past(x)) if self.skip else F.relu(inner)


class ResNet(nn.Module):
    def __init__(self, width: int = 16, blocks: int = 6, without: int = -1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width] * (blocks // 2 + 1) + [2 * width] * (blocks - blocks // 2)
        self.blocks = nn.ModuleList(Residual(widths[i], widths[i + 1], i != without) for i in range(blocks))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.view(-1, 1, 8, 8))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == len(self.blocks) // 2:
                x = F.avg_pool2d(x, 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, sharp: float = 1.0) -> None:
        super().__init__()
        self.heads, self.sharp = heads, sharp
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weight = torch.softmax(self.sharp * (q @ k.transpose(-1, -2)) / (d // self.heads) ** 0.5, dim=-1)
        return self.out((weight @ v).transpose(1, 2).reshape(n, t, d))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, sharp: float = 1.0, skip: bool = True) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, sharp)
        self.norm2, self.skip = nn.LayerNorm(width), skip
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.attention(self.norm1(x))
        x = x + mixed if self.skip else mixed
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """The rows of a digit as a sequence of eight."""

    def __init__(self, width: int = 32, blocks: int = 4, sharp: float = 1.0, without: int = -1) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(0.02 * torch.randn(8, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, 4, sharp, i != without) for i in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.view(-1, 8, 8)) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Encoder(nn.Module):
    """PyTorch's own encoder layers, with their dropout, over the pixels' grey levels as words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(17, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        words = (16 * x).round().long()[:, 16:48]
        return self.head(self.encoder(self.embed(words)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: str, width: int = 32, layers: int = 1) -> None:
        super().__init__()
        self.cells = getattr(nn, kind)(8, width, layers, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x.view(-1, 8, 8))[0][:, -1])


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def two(a: int, b: int) -> nn.Sequential:
            parts = [(a, b), (b, b)]
            return nn.Sequential(
                *(layer for i, o in parts for layer in (nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()))
            )

        self.down1, self.down2, self.bottom = two(1, 8), two(8, 16), two(16, 32)
        self.up2, self.up1, self.out = two(48, 16), two(24, 8), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x.view(-1, 1, 8, 8))
        two = self.down2(F.max_pool2d(one, 2))
        low = self.bottom(F.max_pool2d(two, 2))
        two = self.up2(torch.cat([two, F.interpolate(low, scale_factor=2)], 1))
        one = self.up1(torch.cat([one, F.interpolate(two, scale_factor=2)], 1))
        return self.out(one).flatten(1)


class Mixer(nn.Module):
    def __init__(self, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.tokens = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(blocks)
        )
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)) for _ in range(blocks)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.view(-1, 8, 8))
        for i, (tokens, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            x = x + tokens(self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(self.norms[2 * i + 1](x))
        return self.head(x.mean(1))


class Words(nn.Module):
    """A bag of words, the words being the grey levels of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(17 * 64, 32)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        words = (16 * x).round().long() + 17 * torch.arange(64)
        return self.head(self.bag(words))


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


def autoencoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 32),
        nn.Tanh(),
        nn.Linear(32, 8),
        nn.Tanh(),
        nn.Linear(8, 32),
        nn.Tanh(),
        nn.Linear(32, 64),
        nn.Sigmoid(),
    )


HEALTHY: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp(64, 64, 64, 10),
    "mlp of tanh": lambda: mlp(64, 64, 64, 64, 10, activation=nn.Tanh),
    "mlp of one sigmoid layer": lambda: mlp(64, 30, 10, activation=nn.Sigmoid),
    "mlp of six relu layers": lambda: mlp(64, *[64] * 6, 10),
    "cnn": cnn,
    "resnet": ResNet,
    "transformer": Transformer,
    "encoder": Encoder,
    "lstm": lambda: Recurrent("LSTM", layers=2),
    "gru": lambda: Recurrent("GRU"),
    "rnn": lambda: Recurrent("RNN"),
    "autoencoder": autoencoder,
    "u-net": UNet,
    "bag of words": Words,
    "mixer": Mixer,
}

REBUILDS = ("autoencoder", "u-net")
"""These give the picture back; the others tell the digit."""


def loss_of(name: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(model(x), x) if name in REBUILDS else F.cross_entropy(model(x), y)


def train(name: str, model: nn.Module, steps: int, batch: int = 64) -> list[float]:
    """Adam over the digits; the losses of its steps."""
    x, y = digits(1024)
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch) % len(x)
        optimizer.zero_grad()
        loss = loss_of(name, model, x[rows], y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
