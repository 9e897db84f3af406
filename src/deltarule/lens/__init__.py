"""The lens: where does the error die in any PyTorch model.

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
>>> with watch(model) as flow:
...     model(torch.randn(64, 8)).square().mean().backward()
>>> flow.verdict
'healthy'
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    from deltarule.errors import MissingExtra

    raise MissingExtra('the lens needs PyTorch: pip install "deltarule[torch]"') from error

from deltarule.lens.loggers import lightning_callback, scalars, to_tensorboard, transformers_callback
from deltarule.lens.ranks import NotGathered
from deltarule.lens.watch import NothingSeen, Watch, watch

__all__ = [
    "NotGathered",
    "NothingSeen",
    "Watch",
    "lightning_callback",
    "scalars",
    "to_tensorboard",
    "transformers_callback",
    "watch",
]
