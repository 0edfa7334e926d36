"""The runs that each figure and table needs, as data: frozen configurations that :mod:`runs` executes and caches."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_companion.runs.configs import Evaluate, Latents, Stiffness, Train, TrainByAdjoint
from gfe_companion.runs.profiles import CURVE_IMAGES, EPOCH, FLOW_KEPT, FLOW_STEP, Setting
from gfe_core.encoding import Solver
from gfe_core.fixed_grid import FixedGrid
from gfe_core.nesterov import Nesterov
from gfe_core.warm import WarmStart

LITERAL = AMD()  # Sec. 3.4 as it is written: s_max = 10, about 1,000 steps to tau, fewer where the curve is flat
# The departure: larger steps, each grown from the last accepted one, and a hundred trials in all.
UNCAPPED = AMD(s_max=1000.0, tolerance=1e-3, grow_accepted=True, max_trials=100)
UNHURRIED = replace(UNCAPPED, max_trials=1000)  # to see what that budget costs

# Beyond the paper: five quasi-Newton trials from where recent batches point to; and as many as it takes, for tests.
FAST = WarmStart(penalty=1e-5)
FAST_TEST = replace(FAST, solver=QuasiNewtonAMD(s_0=1.0, tolerance=1e-4, max_trials=60))

# The paper gives no final time for its fixed grids. The first-order flow gets AMD's, the second-order flow the time in
# which a constant gradient carries z equally far: tau^2 / 8 = 1e4 (1 - e^-2) / 2.
FLOW_TAU = 1e4
NESTEROV_TAU = math.sqrt(4 * FLOW_TAU * (1 - math.exp(-2)))
ADJOINT_TAU = 1e3  # shorter, for the adjoint: its equation needs slices that are short against the curvature


def _trainings(setting: Setting) -> dict[str, Solver | None]:
    """The trained methods of Table 1, by the name that tables and figures use."""
    methods: dict[str, Solver | None] = {"ae": None, "gfe_amd_uncapped": UNCAPPED}
    if setting.profile.literal_amd:
        methods["gfe_amd"] = LITERAL
    return methods


def _train(setting: Setting, stand_in: bool, method: Solver | None, seed: int, images: tuple[int, ...]) -> Train:
    return Train(
        "mnist", stand_in, seed, method, images, tuple(i for i in images if i in setting.profile.table1_images),
        setting.profile.validation_images, device=setting.device,
    )  # fmt: skip


def table1(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Table 1 as a frame of runs to be made: columns images, method, seed, config (an :class:`Evaluate`)."""
    profile, rows = setting.profile, []
    for seed in setting.seeds:
        for method, solver in _trainings(setting).items():
            training = _train(setting, stand_in, solver, seed, profile.table1_images)
            for images in profile.table1_images:
                count = 10_000 if solver is None else profile.test_images
                rows.append((images, method, seed, Evaluate(training, images, solver, count)))
                if solver is None:
                    rows.append(
                        (images, "ae_then_amd", seed, Evaluate(training, images, UNCAPPED, profile.test_images))
                    )
    return pd.DataFrame(rows, columns=["images", "method", "seed", "config"])


def figure4(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 4 as a frame of runs to be made: columns method, seed, config (a :class:`Train`).

    Every seed's training of Table 1 is part of it; the first seeds of the autoencoder and of uncapped GFE-amd are also
    followed to the profile's full length.
    """
    profile, rows = setting.profile, []
    reach = {
        "ae": (profile.curve_ae, profile.curve_ae_seeds),
        "gfe_amd_uncapped": (profile.curve_gfe, profile.curve_gfe_seeds),
    }
    for method, solver in _trainings(setting).items():
        far, seeds = reach.get(method, (0, 0))
        for place, seed in enumerate(setting.seeds):
            points = tuple(i for i in CURVE_IMAGES if i <= far) if place < seeds else profile.table1_images
            rows.append((method, seed, _train(setting, stand_in, solver, seed, points)))
    return pd.DataFrame(rows, columns=["method", "seed", "config"])


def _follow(
    setting: Setting, stand_in: bool, seed: int, solver: Solver, until: int, kind: type[Train] = Train
) -> Train:
    profile = setting.profile
    return kind(
        "mnist", stand_in, seed, solver, tuple(range(FLOW_STEP, until + 1, FLOW_STEP)),
        tuple(images for images in FLOW_KEPT if images <= until), profile.flow_validation_images, device=setting.device,
    )  # fmt: skip


def figure3_left(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 3, left: columns solver, method, seed, config. Eq. (6) against Eq. (2)-(4), by fixed grid and by AMD."""
    profile, rows = setting.profile, []
    solvers = {"fixed grid": FixedGrid(ADJOINT_TAU, profile.adjoint_slices), "AMD": UNCAPPED}
    for seed in setting.seeds[: profile.flow_seeds]:
        for name, solver in solvers.items():
            for method, kind in (("approximate", Train), ("adjoint", TrainByAdjoint)):
                config = _follow(setting, stand_in, seed, solver, profile.adjoint_images, kind)
                rows.append((name, method, seed, config))
    return pd.DataFrame(rows, columns=["solver", "method", "seed", "config"])


def flows(setting: Setting) -> dict[str, Solver]:
    """The solvers that Figures 1 and 3 (right) compare, by the name that figures use."""
    slices = setting.profile.slices
    return {
        "gfe": FixedGrid(FLOW_TAU, slices),
        "gfe_nesterov": Nesterov(NESTEROV_TAU, slices),
        "gfe_amd_uncapped": UNCAPPED,
    }


def figure3_right(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 3, right, and Figure 1: columns method, seed, config (a :class:`Train`)."""
    rows = [
        (method, seed, _follow(setting, stand_in, seed, solver, setting.profile.flow_images))
        for seed in setting.seeds[: setting.profile.flow_seeds]
        for method, solver in flows(setting).items()
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "config"])


def stiffness(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """The stiffness of the flow as training proceeds: columns seed, config (a :class:`Stiffness`)."""
    profile = setting.profile
    plan = table1(setting, stand_in).query("method == 'gfe_amd_uncapped'").drop_duplicates("seed")
    rows = [
        (row.seed, Stiffness(row.config.training, profile.stiff_images, FLOW_TAU))
        for row in plan.itertuples()
        if row.seed in setting.seeds[: profile.flow_seeds]
    ]
    return pd.DataFrame(rows, columns=["seed", "config"])


def _converged(setting: Setting, stand_in: bool, dataset: str, solver: Solver | None, seed: int) -> tuple[Train, int]:
    """A training of Table 2 and how many images it takes: one epoch by encoding, twelve for an autoencoder."""
    profile = setting.profile
    epoch = round(profile.epoch_share * EPOCH[dataset]) // 16 * 16
    if dataset == "mnist" and solver is not None and {profile.few_images, epoch} <= set(profile.table1_images):
        return _train(setting, stand_in, solver, seed, profile.table1_images), epoch  # Table 1's passes there
    end = epoch * (12 if solver is None else 1)
    points = {profile.few_images, end}
    if dataset == "mnist" and solver is None:
        points |= {images for images in CURVE_IMAGES if images < end}  # for its test loss on the way
    points = tuple(sorted(points))
    training = Train(dataset, stand_in, seed, solver, points, points, profile.validation_images, device=setting.device)
    return training, end


def table2(setting: Setting, dataset: str, stand_in: bool) -> pd.DataFrame:
    """One row of Table 2: columns dataset, method, seed, images (seen in training), config (an :class:`Evaluate`)."""
    rows = []
    for seed in setting.seeds[: setting.profile.converged_seeds]:
        for method, solver in {"ae": None, "gfe_amd_uncapped": UNCAPPED}.items():
            training, images = _converged(setting, stand_in, dataset, solver, seed)
            count = 10_000 if solver is None else setting.profile.test_images
            rows.append((dataset, method, seed, images, Evaluate(training, images, solver, count)))
            if solver is None:
                encoded = Evaluate(training, images, UNCAPPED, setting.profile.test_images)
                rows.append((dataset, "ae_then_amd", seed, images, encoded))
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "images", "config"])


def unhurried(setting: Setting, dataset: str, stand_in: bool) -> pd.DataFrame:
    """Table 2's decoders of GFE once more, encoded with ten times the trials: columns dataset, seed, config."""
    plan = table2(setting, dataset, stand_in).query("method == 'gfe_amd_uncapped'")
    rows = [
        (dataset, row.seed, replace(row.config, solver=UNHURRIED, count=setting.profile.unhurried_images))
        for row in plan.itertuples()
    ]
    return pd.DataFrame(rows, columns=["dataset", "seed", "config"])


def latents(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figures 6 and 7: columns data ("full" or "few"), method, seed, images, config (a :class:`Latents`)."""
    profile, rows = setting.profile, []
    for seed in setting.seeds[: profile.converged_seeds]:
        for method, solver in {"gfe_amd_uncapped": UNCAPPED, "ae": None}.items():
            training, end = _converged(setting, stand_in, "mnist", solver, seed)
            for data, images in {"full": end, "few": profile.few_images}.items():
                count = 10_000 if solver is None else profile.test_images
                evaluation = Evaluate(training, images, solver, count)
                rows.append((data, method, seed, images, Latents(evaluation, profile.map_images)))
    return pd.DataFrame(rows, columns=["data", "method", "seed", "images", "config"])


def plans(setting: Setting, stand_in: bool) -> list[pd.DataFrame]:
    """All frames of runs above: what the paper's figures and tables need."""
    made = [make(setting, stand_in) for make in (figure3_left, figure3_right, stiffness, table1, figure4, latents)]
    return made + [make(setting, dataset, stand_in) for make in (table2, unhurried) for dataset in EPOCH]
