"""What an inexact encoding costs the decoder's gradient, and what a start saves it (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_core.adjoint import ApproximateGradient
from gfe_core.encoding import Encoding, Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective

EXACT = LevenbergMarquardt(tolerance=1e-6, first=None)


def gradient_errors(
    decoder: nn.Module, batches: list[Tensor], encoders: Mapping[tuple[str, int], Solver], near: Solver
) -> tuple[pd.DataFrame, float]:
    """Compare Eq. (6)'s gradient of each of ``batches`` (B, P) at what ``encoders`` reach with that at the optimum.

    The keys of ``encoders`` are a name and a number of trials. The optimum is where :data:`EXACT` ends from where
    ``near`` leads. Returns a frame with columns encoder, trials, batch, passes (an image), gap (of the mean loss,
    relative), error (of the gradient, relative to its norm), and the noise: how far a batch's exact gradient lies from
    the mean of all, relative to its norm.
    """
    rows, exact, best = [], [], []
    for images in batches:
        objective = Objective(decoder, images)
        encoding = EXACT.encode(objective, near.encode(objective).z)
        best.append(float(encoding.loss.mean()))
        exact.append(_gradient(objective, encoding))
    for (name, trials), solver in encoders.items():
        for number, images in enumerate(batches):
            objective = Objective(decoder, images)
            encoding = solver.encode(objective)
            error = float((_gradient(objective, encoding) - exact[number]).norm() / exact[number].norm())
            gap = float(encoding.loss.mean()) / best[number] - 1
            rows.append((name, trials, number, encoding.evaluations / len(images), gap, error))
    mean = torch.stack(exact).mean(dim=0)
    noise = sum(float((each - mean).norm() / each.norm()) for each in exact) / len(exact)
    return pd.DataFrame(rows, columns=["encoder", "trials", "batch", "passes", "gap", "error"]), noise


def starting_points(
    decoder: nn.Module, images: Tensor, points: Mapping[str, Tensor], encoders: Mapping[int, Solver]
) -> pd.DataFrame:
    """Mean losses of ``images`` (N, P) at each of ``points`` (N, d) and after each of ``encoders`` from there.

    The keys of ``encoders`` are their numbers of trials. Columns: start, trials (0: at the point itself), loss.
    """
    objective, rows = Objective(decoder, images), []
    for name, z in points.items():
        losses = {0: objective.value(z)} | {k: solver.encode(objective, z).loss for k, solver in encoders.items()}
        rows += [(name, trials, float(loss.double().mean())) for trials, loss in losses.items()]
    return pd.DataFrame(rows, columns=["start", "trials", "loss"])


def _gradient(objective: Objective, encoding: Encoding) -> Tensor:
    return torch.cat([part.flatten() for part in ApproximateGradient()(objective, encoding)])
