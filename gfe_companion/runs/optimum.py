"""The yardstick: the lowest loss that several encoders find for an image, in float64 (beyond the paper)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.evaluate import Evaluate
from gfe_core.accelerated import NesterovAMD
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective
from gfe_core.training import encode_all

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

WAYS: tuple[tuple[str, Solver], ...] = (
    ("bfgs", LevenbergMarquardt(tolerance=1e-4)),
    ("nesterov", LevenbergMarquardt(tolerance=1e-4, first=NesterovAMD(tolerance=1e-2, max_trials=200))),
)
ONWARD = LevenbergMarquardt(tolerance=1e-4, first=None)
SETTLED = LevenbergMarquardt(tolerance=1e-3, first=None)
AGREE = 1e-3


@dataclass(frozen=True)
class Optimum(RunConfig):
    """The lowest losses that several encoders and starts find for the first ``count`` images of ``evaluation``.

    The latents of ``evaluation`` are one of the starts. ``ways`` are the encoders from zero, by name; ``onward`` is the
    one from a given start; ``settled`` goes from where either ends to the bottom of that basin. Ways ``agree`` on an
    image if all come within this of the lowest loss, relative.
    """

    evaluation: Evaluate
    count: int
    ways: tuple[tuple[str, Solver], ...] = WAYS
    onward: Solver = ONWARD
    settled: Solver = SETTLED
    agree: float = AGREE

    @property
    def name(self) -> str:
        """Of which test."""
        return self.evaluation.name.replace("test-", "optimum-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """A search in these ways, of so many images."""
        return f"{type(self).__name__} by {self.ways!r}", self.count

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The test, and the training whose weights it used."""
        return (self.evaluation, self.evaluation.training)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Search. The frame of :func:`optimum` and the latents' norms, of the test's own and of the best; these, z."""
        tested, trained = needed
        model = model_with(trained[str(self.evaluation.images)], self.evaluation.training.solver)
        images, own = dataset.test.images[: self.count], tested["z"][: self.count]
        decoder = getattr(model, "decoder", model)
        history, z = optimum(decoder, images, {"own": own}, self.ways, self.onward, self.settled, self.agree)
        return history.assign(own_norm=own.norm(dim=1), norm=z.norm(dim=1)), {"z": z}


def optimum(
    decoder: nn.Module,
    images: Tensor,
    starts: dict[str, Tensor],
    ways: tuple[tuple[str, Solver], ...] = WAYS,
    onward: Solver = ONWARD,
    settled: Solver = SETTLED,
    agree: float = AGREE,
) -> tuple[pd.DataFrame, Tensor]:
    """Encode ``images`` (B, P) from zero, in each of ``ways``, and ``onward`` from each of ``starts`` (B, d).

    Each is followed in float32 and ``settled`` in float64. Returns a frame with one row an image: a column of losses
    for each, ``loss`` the lowest, and ``agree``, whether all lie within ``agree`` of it; and the best latents (B, d).
    Cost: a few hundred to a thousand decoder passes an image and way.
    """
    exact, found = deepcopy(decoder).double(), {}
    tried: list[tuple[str, Solver, Tensor | None]] = [(name, solver, None) for name, solver in ways]
    tried += [(name, onward, start) for name, start in starts.items()]
    for name, solver, z0 in tried:
        near, _ = _encode(decoder, images, solver, z0)
        found[name] = _encode(exact, images.double(), settled, near.double())
    columns = {name: loss for name, (_, loss) in found.items()}
    losses = torch.stack(list(columns.values()))
    best, which = losses.min(dim=0)
    z = torch.stack([z for z, _ in found.values()])[which, torch.arange(len(images), device=which.device)]
    frame = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
    frame["loss"] = best.cpu().numpy()
    frame["agree"] = ((losses - best) <= agree * best).all(dim=0).cpu().numpy()
    return frame, z.float()


def _encode(decoder: nn.Module, images: Tensor, solver: Solver, z0: Tensor | None) -> tuple[Tensor, Tensor]:
    if z0 is None:
        encodings = list(encode_all(decoder, images, solver, batch_size=250))
    else:
        parts = zip(images.split(250), z0.split(250), strict=True)
        encodings = [solver.encode(Objective(decoder, batch), start) for batch, start in parts]
    return torch.cat([e.z for e in encodings]), torch.cat([e.loss for e in encodings])
