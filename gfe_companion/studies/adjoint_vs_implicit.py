"""Notebook 02, the third way: the derivative at a minimiser by one linear system, against autograd and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.studies.adjoint_vs_autograd import random_decoder, relative_error, through_the_solver
from gfe_companion.studies.results import Table, Text, listed
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.encoding import Encoding
from gfe_core.implicit import ImplicitGradient, NoMinimum
from gfe_core.objective import Landscape, Objective
from gfe_core.warm import WarmStart
from gfe_core.wrappers import Penalised

PENALTY = 0.01  # of the prior on z
MINIMISED = {"l": 0.0, "l + prior": PENALTY}  # what is minimised, by the penalty that is added
TAUS = (1, 10, 100, 1000)
IMAGES = 4
IMPLICIT = "implicit, gfe_core"
WAYS = ("Eq. (6)", "implicit, by hand", IMPLICIT, "implicit, Gauss-Newton", "adjoint")
Inner = Callable[[Landscape], Landscape]
Gradient = Callable[[Objective, Encoding], Iterable[Tensor | None]]
# objective, what was minimised, and z (B, d) -> the gradient in theta
ByHand = Callable[[Landscape, Landscape, Tensor], Iterable[Tensor | None]]


def ways(setting: Setting, by_hand: ByHand) -> pd.DataFrame:
    """The error and the cost of each gradient of l at the end of ever longer encodings, with and without a prior on z.

    ``by_hand`` is a reader's own way to solve the linear system.

    Random decoders in float64, the truth being autograd through all of AMD's steps. Columns: decoder, minimised, tau,
    gradient (the largest norm of what is left of the gradient in z), way, error (NaN where the way refuses), passes for
    each image.
    """
    rows = []
    for seed in range(min(5, setting.profile.drawn_slices // 40)):
        decoder = random_decoder(seed=seed)
        y = torch.rand(IMAGES, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for minimised, penalty in MINIMISED.items():
            inner = partial(Penalised, penalty=penalty)
            for tau in over(TAUS, f"decoder {seed}, {minimised}"):
                objective, solver = Objective(decoder, y), AMD(tau=tau, s_max=4.0, tolerance=1e-9, grow_accepted=True)
                encoding = WarmStart(solver=solver, penalty=penalty).encode(objective, record=True)
                assert encoding.path is not None
                truth = through_the_solver(objective, solver, encoding.path, penalty)
                left = inner(objective).value_and_grad(encoding.z)[1].norm(dim=1).max().item()
                gradients: tuple[Gradient, ...] = (
                    ApproximateGradient(), partial(_by_hand, by_hand, inner), ImplicitGradient(inner),
                    ImplicitGradient(inner, gauss_newton=True), AdjointGradient(),
                )  # fmt: skip
                for name, gradient in zip(WAYS, gradients, strict=True):
                    before = objective.evaluations
                    try:
                        error = relative_error(gradient(objective, encoding), truth)
                    except NoMinimum:
                        error = float("nan")
                    passes = (objective.evaluations - before) / IMAGES
                    rows.append((seed, minimised, tau, left, name, error, passes))
    return pd.DataFrame(rows, columns=["decoder", "minimised", "tau", "gradient", "way", "error", "passes"])


def _by_hand(by_hand: ByHand, inner: Inner, objective: Objective, encoding: Encoding) -> Iterable[Tensor | None]:
    return by_hand(objective, inner(objective), encoding.z)


def table_implicit(measured: pd.DataFrame) -> Table:
    """What :func:`ways` measured: the median error over the decoders, and how many of them were refused."""
    rows = []
    for (minimised, tau), part in measured.groupby(["minimised", "tau"], sort=False):
        row = {"minimised": minimised, "tau": f"{tau:,}", "left of the gradient in z": f"{part.gradient.median():.0e}"}
        rows.append(row | {way: _cell(of.error) for way, of in part.groupby("way", sort=False)})
    return Table(
        "table_02_implicit",
        measured,
        pd.DataFrame(rows),
        "Four gradients in theta of l at the end of ever longer encodings: relative error, against autograd",
        f"The median over random decoders in float64 ({measured.decoder.nunique()} of them), cross-entropy, "
        "encoded by AMD; of those not refused, so that a cell may be of other decoders than its neighbours. "
        "Random data: no data set is involved. "
        f"The prior adds {PENALTY:g} |z|^2 / 2 to what is minimised, and not to l. "
        "Refused: the loss has no positive curvature along a direction at z.",
    )


def _cell(errors: pd.Series) -> str:
    """A median with the number of refusals, if any."""
    refused, median = errors.isna().sum(), f"{errors.median():.0e}"
    if refused == len(errors):
        return "refused"
    return f"{median} ({refused} refused)" if refused else median


def say_implicit(measured: pd.DataFrame) -> Text:
    """What the longest encodings show, and what each way costs there."""
    longest = measured[measured.tau == measured.tau.max()]
    errors = longest.groupby(["minimised", "way"]).error.median()
    passes = longest.groupby("way", sort=False).passes.median()
    cost = listed([f"{passes[way]:.0f} ({way})" for way in WAYS if "hand" not in way])
    return Text(
        f"*Reading it:* at $\\tau$ = {longest.tau.iloc[0]:,} Eq. (6) is off by {errors['l', 'Eq. (6)']:.0e} "
        f"where $l$ itself was minimised, and by {errors['l + prior', 'Eq. (6)']:.0%} where the prior was in it; "
        f"the linear system by {errors['l', IMPLICIT]:.0e} and {errors['l + prior', IMPLICIT]:.0e}. "
        f"Passes for each image there, besides the encoding: {cost}. The system's number depends on the latent's size, "
        "the adjoint's on the length of the path."
    )
