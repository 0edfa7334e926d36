"""The yardstick: the lowest loss that several encoders find for an image, in float64 (beyond the paper)."""

from __future__ import annotations

from copy import deepcopy

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_core.accelerated import NesterovAMD
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective
from gfe_core.training import encode_all

SETTLED = LevenbergMarquardt(tolerance=1e-7, first=None)  # from near by, to the bottom of that basin
FROM_ZERO = {
    "bfgs": LevenbergMarquardt(tolerance=1e-4),
    "nesterov": LevenbergMarquardt(tolerance=1e-4, first=NesterovAMD(tolerance=1e-2, max_trials=200)),
}
AGREE = 1e-3  # relative: starts whose losses differ by less have found the same optimum


def optimum(decoder: nn.Module, images: Tensor, starts: dict[str, Tensor]) -> tuple[pd.DataFrame, Tensor]:
    """Encode ``images`` (B, P) from zero, by each way of :data:`FROM_ZERO`, and from each of ``starts`` (B, d).

    Every way is followed in float32 and settled in float64. Returns a frame with one row an image: a column of losses
    for each way, ``loss`` the lowest, and ``agree``, whether all lie within :data:`AGREE` of it; and the best latents
    (B, d). Cost: a few hundred to a thousand decoder passes an image and way.
    """
    exact, found = deepcopy(decoder).double(), {}
    origins = {"bfgs": None, "nesterov": None} | starts
    for name, z0 in origins.items():
        solver = FROM_ZERO.get(name, LevenbergMarquardt(tolerance=1e-4, first=None))
        near = _encode(decoder, images, solver, z0)
        found[name] = _encode(exact, images.double(), SETTLED, near[0].double())
    columns = {name: loss for name, (_, loss) in found.items()}
    losses = torch.stack(list(columns.values()))
    best, which = losses.min(dim=0)
    z = torch.stack([z for z, _ in found.values()])[which, torch.arange(len(images), device=which.device)]
    frame = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
    frame["loss"] = best.cpu().numpy()
    frame["agree"] = ((losses - best) <= AGREE * best).all(dim=0).cpu().numpy()
    return frame, z.float()


def _encode(decoder: nn.Module, images: Tensor, solver: LevenbergMarquardt, z0: Tensor | None) -> tuple[Tensor, Tensor]:
    if z0 is None:
        encodings = list(encode_all(decoder, images, solver, batch_size=250))
    else:
        parts = zip(images.split(250), z0.split(250), strict=True)
        encodings = [solver.encode(Objective(decoder, batch), start) for batch, start in parts]
    return torch.cat([e.z for e in encodings]), torch.cat([e.loss for e in encodings])
