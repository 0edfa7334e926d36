"""Notebook 08: what an inexact encoding costs the decoder's gradient, and what a start saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.evidence.claims import BATCH
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.borrowed import with_weights
from gfe_companion.studies.drawing import WIDTH, plain_ticks
from gfe_companion.studies.results import Picture, Table
from gfe_core.adjoint import ApproximateGradient
from gfe_core.encoding import Encoding, Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.models import Decoder
from gfe_core.objective import Objective
from gfe_core.warm import WarmEncoder

EXACT = LevenbergMarquardt(tolerance=1e-6, first=None)
TRIALS = (1, 2, 3, 5, 8, 12, 20, 40, 80)
FEW, MORE, MANY = 5, 20, 200  # trials: of the training, of a patient one, and for the best that can be had
STOPPED = ("warm_quasi_newton", "quasi_newton", "nesterov_amd", "gfe_amd_uncapped")  # after so many trials


@dataclass(frozen=True)
class Kept:
    """What the training of the race's decoder kept on its way, by the number of training ``images`` seen."""

    weights: dict
    images: int  # when the race takes place
    earlier: int  # the last point at which the training had seen at most half of these

    @classmethod
    def of(cls, setting: Setting) -> Kept:
        """That training is the first seed's, by the accelerated encoder at a constant rate."""
        test = plans.race(setting).optimum.evaluation
        earlier = max(images for images in test.training.kept if images <= test.images / 2)
        return cls(run_grid([test.training], setting)[0].weights, test.images, earlier)

    def decoder(self) -> Decoder:
        """The decoder of the race."""
        return with_weights(self.weights[str(self.images)])

    def warm(self, trials: int) -> WarmEncoder:
        """The accelerated encoder as it was then, with another number of trials."""
        return plans.with_trials(trials).encoder(self.weights[f"{self.images} start"])

    def before(self) -> Kept:
        """The same, at the earlier point."""
        return replace(self, images=self.earlier)


def starts_of(setting: Setting) -> pd.DataFrame:
    """Training images from zero, from their latents under an earlier decoder, and from the linear map.

    Columns: start, trials (0: at the start itself), loss.
    """
    kept = Kept.of(setting)
    before, images = kept.before(), setting.load().train.images[: setting.profile.beyond_tested]
    latents = before.warm(FEW).encode(Objective(before.decoder(), images)).z
    points = {
        "zero": torch.zeros_like(latents),
        f"its latent {kept.images - kept.earlier:,} images before": latents,
        "linear map": kept.warm(FEW).start(images),
    }
    return starting_points(kept.decoder(), images, points, {k: kept.warm(k) for k in (FEW, MORE, MANY)})


def table_starts(setting: Setting, starts: pd.DataFrame) -> Table:
    """How far each start, and a few trials from there, lie above the best that many trials reach."""
    wide = starts.pivot(index="start", columns="trials", values="loss").loc[list(starts.start.unique())]
    best = wide.loc["linear map", MANY]
    rows = [
        {"start": name, "loss at the start": f"{row[0]:.4f}"}
        | {f"after {k} trials, above the best": f"{row[k] / best - 1:.2%}" for k in (FEW, MORE)}
        for name, row in wide.iterrows()
    ]
    seen, count = plans.race(setting).optimum.evaluation.images, setting.profile.beyond_tested
    title = f"Where to start: {count:,} training images, a decoder after {seen:,}"
    notes = f"Mean cross-entropy. The best is {best:.4f}, after {MANY} trials from the linear map."
    return Table("table_08_starts", starts, pd.DataFrame(rows), title, notes)


def errors_of(setting: Setting) -> pd.DataFrame:
    """:func:`gradient_errors` of :data:`STOPPED` by their number of trials, with a column for the noise of a batch."""
    kept = Kept.of(setting)
    encoders = {(name, trials): stopped(name, trials, kept) for name in STOPPED for trials in TRIALS}
    count = BATCH * max(2, setting.profile.optimum_images // 25)
    batches = list(setting.load().train.images[:count].split(BATCH))
    errors, noise = gradient_errors(kept.decoder(), batches, encoders, kept.warm(MANY))
    return errors.assign(noise=noise)


def stopped(method: str, trials: int, kept: Kept) -> Solver:
    """The encoder of a ``method`` after so many ``trials``; where it has none without a training, that of ``kept``."""
    solver = METHODS[method].solver
    return kept.warm(trials) if solver is None else replace(solver, tolerance=0.0, max_trials=trials)  # type: ignore[type-var]


def fig8_gradient(setting: Setting, errors: pd.DataFrame) -> Picture:
    """The relative error of the gradient in theta against decoder passes, beside the noise of a batch."""
    mean = errors.groupby(["encoder", "trials"], sort=False)[["passes", "error"]].mean().reset_index()
    noise = errors.noise.iloc[0]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    for name, group in mean.groupby("encoder", sort=False):
        look = METHODS[name].look
        axes.plot(group.passes, group.error, color=look.color, marker=look.marker, label=look.short)
    axes.axhline(noise, color="grey", linestyle="--", label=f"noise of a batch of {BATCH}")
    axes.set(xscale="log", yscale="log", xlabel="decoder passes an image")
    axes.set_ylabel(r"error of the gradient in $\theta$ (relative)")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    seen = plans.race(setting).optimum.evaluation.images
    axes.set_title(f"{setting.load().title}: batches of {BATCH}, decoder of {seen:,} images")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    few = mean[mean.trials == FEW].set_index("encoder").error
    alt = f"Relative error of the decoder's gradient against passes. After {FEW} trials: " + ", ".join(
        f"{METHODS[name].look.short} {value:.2f}" for name, value in few.items()
    )
    return Picture("fig8_gradient", figure, f"{alt}; noise of a batch: {noise:.2f}.", errors)


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
    for (name, trials), solver in over(encoders.items(), "encoders"):
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
    for name, z in over(points.items(), "starts"):
        losses = {0: objective.value(z)} | {k: solver.encode(objective, z).loss for k, solver in encoders.items()}
        rows += [(name, trials, float(loss.double().mean())) for trials, loss in losses.items()]
    return pd.DataFrame(rows, columns=["start", "trials", "loss"])


def _gradient(objective: Objective, encoding: Encoding) -> Tensor:
    return torch.cat([part.flatten() for part in ApproximateGradient()(objective, encoding) if part is not None])
