"""The runs that each figure and table needs, as data: frozen configurations that :mod:`runs` executes and caches."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.methods import COLD_TEST, FAST, FIXED, FLOW_TAU, METHODS, SECOND_ORDER, UNCAPPED, Method
from gfe_companion.runs.configs import Coarseness, Evaluate, Latents, Optimum, Stiffness, Train, TrainByAdjoint
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import CURVE_IMAGES, FLOW_KEPT, FLOW_STEP, WATCH_KEPT, Profile
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.encoding import Solver
from gfe_core.fixed_grid import FixedGrid
from gfe_core.nesterov import Nesterov

SETTLED = QuasiNewtonAMD(tolerance=1e-4, max_trials=50)  # in Table 2 a share of a percent matters, no less
ADJOINT_TAU = 1e3  # shorter, for the adjoint: its equation needs slices that are short against the curvature


def of_table1(setting: Setting) -> dict[str, Method]:
    """The methods that are trained for Table 1, slow ones only where the profile affords them."""
    affordable = {name: method for name, method in METHODS.items() if setting.profile.literal_amd or not method.slow}
    return {name: method for name, method in affordable.items() if method.table1}


def _train(setting: Setting, method: Solver | None, seed: int, images: tuple[int, ...]) -> Train:
    kept = tuple(i for i in images if i in setting.profile.table1_images)
    validated = setting.profile.validation_images
    return Train(setting.dataset, setting.embedded(), seed, method, images, kept, validated, device=setting.device)


def table1(setting: Setting) -> pd.DataFrame:
    """Table 1 as a frame of runs to be made: columns images, method, seed, config (an :class:`Evaluate`)."""
    profile, rows = setting.profile, []
    for seed in setting.seeds:
        for name, method in of_table1(setting).items():
            training = _train(setting, method.solver, seed, profile.table1_images)
            for images in profile.table1_images:
                count = 10_000 if method.solver is None else profile.test_images
                test = Evaluate(training, images, method.tester or method.solver, count)
                rows.append((images, name, seed, fewer(test, profile) if on_fewer(name) else test))
                if name == "ae":  # its decoder, encoded by another method
                    test = Evaluate(training, images, METHODS["ae_then_amd"].tester, profile.test_images)
                    rows.append((images, "ae_then_amd", seed, fewer(test, profile)))
    return pd.DataFrame(rows, columns=["images", "method", "seed", "config"])


def on_fewer(method: str) -> bool:
    """Whether Table 1 tests a method on fewer images: one that is slow, and AMD on the autoencoder's decoder."""
    return METHODS[method].slow or method == "ae_then_amd"


def fewer(test: Evaluate, profile: Profile) -> Evaluate:
    """``test`` on as many images as a slow method gets, spread evenly over its own."""
    every = profile.test_images // profile.slow_test_images
    return replace(test, count=profile.slow_test_images, every=every)


def figure4(setting: Setting) -> pd.DataFrame:
    """Figure 4 as a frame of runs to be made: columns method, seed, config (a :class:`Train`).

    Every seed's training of Table 1 is part of it; the first seeds of the autoencoder and of uncapped GFE-amd are also
    followed to the profile's full length, which may be that of Table 2's autoencoder.
    """
    profile, rows = setting.profile, []
    reach = {
        "ae": (profile.curve_ae, profile.curve_ae_seeds),
        "gfe_amd_uncapped": (profile.curve_gfe, profile.curve_gfe_seeds),
    }
    for name, method in of_table1(setting).items():
        far, seeds = reach.get(name, (0, 0))
        for place, seed in enumerate(setting.seeds):
            points = tuple(i for i in CURVE_IMAGES if i <= far) if place < seeds else profile.table1_images
            whole, end = _converged(setting, setting.dataset, method.solver, seed)
            same = name == "ae" and place < seeds and end == far
            rows.append((name, seed, whole if same else _train(setting, method.solver, seed, points)))
    return pd.DataFrame(rows, columns=["method", "seed", "config"])


def _follow(setting: Setting, seed: int, solver: Solver, until: int, kind: type[Train] = Train) -> Train:
    profile = setting.profile
    stages = {*FLOW_KEPT, *WATCH_KEPT, profile.watched_images}
    measured = sorted({*range(FLOW_STEP, until + 1, FLOW_STEP), until})
    kept = tuple(images for images in sorted(stages) if images <= until)
    validated = profile.flow_validation_images
    return kind(
        setting.dataset, setting.embedded(), seed, solver, tuple(measured), kept, validated, device=setting.device
    )


def figure3_left(setting: Setting) -> pd.DataFrame:
    """Figure 3, left: columns solver, method, seed, config. Eq. (6) against Eq. (2)-(4), by fixed grid and by AMD."""
    profile, rows = setting.profile, []
    solvers: dict[str, Solver] = {"fixed grid": FixedGrid(ADJOINT_TAU, profile.adjoint_slices), "AMD": UNCAPPED}
    for seed in setting.seeds[: profile.flow_seeds]:
        for name, solver in solvers.items():
            for method, kind in (("approximate", Train), ("adjoint", TrainByAdjoint)):
                config = _follow(setting, seed, solver, profile.adjoint_images, kind)
                rows.append((name, method, seed, config))
    return pd.DataFrame(rows, columns=["solver", "method", "seed", "config"])


def grids(slices: int) -> dict[str, FixedGrid | Nesterov]:
    """The flows that Figures 1 and 3 (right) compare with AMD, by the name that figures use."""
    return {"gfe": replace(FIXED, slices=slices), "gfe_nesterov": replace(SECOND_ORDER, slices=slices)}


def watched(setting: Setting) -> pd.DataFrame:
    """Trainings by fixed grids of N and N / 4 slices, and by AMD, to see what happens later on.

    Columns method, slices (0 for AMD), seed, until (images), config (a :class:`Train`), coarse (a :class:`Coarseness`:
    of the grid's own flow, and of GFE on N slices for AMD's decoder).
    """
    profile = setting.profile
    rows: list[tuple[str, int, int, int, Solver, FixedGrid | Nesterov]] = []
    for place, seed in enumerate(setting.seeds[: profile.flow_seeds]):
        fine = profile.watched_images if place < profile.fine_seeds else profile.flow_images
        for slices, until in ((profile.slices, fine), (profile.slices // 4, profile.watched_images)):
            rows += [(method, slices, seed, until, grid, grid) for method, grid in grids(slices).items()]
        own = grids(profile.slices)["gfe"]
        rows.append(("gfe_amd_uncapped", 0, seed, profile.watched_images, UNCAPPED, own))
    plan = pd.DataFrame(rows, columns=["method", "slices", "seed", "until", "solver", "grid"])
    plan["config"] = [_follow(setting, row.seed, row.solver, row.until) for row in plan.itertuples()]
    plan["coarse"] = [Coarseness(row.config, row.grid, profile.coarse_images) for row in plan.itertuples()]
    return plan.drop(columns=["solver", "grid"])


def figure3_right(setting: Setting) -> pd.DataFrame:
    """Figure 3, right, and Figure 1: columns method, slices, seed, until, config (a :class:`Train`).

    ``until`` is how many images its curve takes: a training by AMD may be watched for longer than those by the grids.
    """
    plan = watched(setting)
    plan = plan[plan.slices.isin([0, setting.profile.slices])]
    until = plan.groupby("seed").until.transform("min")
    return plan.assign(until=until).drop(columns="coarse")


def stiffness(setting: Setting) -> pd.DataFrame:
    """The stiffness of the flow as training proceeds: columns seed, config (a :class:`Stiffness`).

    Along Table 2's epoch by AMD where that is watched, else along Table 1's training.
    """
    profile, rows = setting.profile, []
    for seed in setting.seeds[: profile.flow_seeds]:
        whole = _epoch(profile, setting.dataset) == profile.watched_images
        training = _follow(setting, seed, UNCAPPED, profile.watched_images) if whole else _few(setting, seed)
        rows.append((seed, Stiffness(training, profile.stiff_images, FLOW_TAU, solver=UNCAPPED)))
    return pd.DataFrame(rows, columns=["seed", "config"])


def _few(setting: Setting, seed: int) -> Train:
    """Table 1's training by uncapped AMD."""
    return _train(setting, UNCAPPED, seed, setting.profile.table1_images)


def _epoch(profile: Profile, dataset: str) -> int:
    """The training images that count as an epoch."""
    return round(profile.epoch_share * REGISTRY[dataset].epoch) // 16 * 16


def _converged(setting: Setting, dataset: str, solver: Solver | None, seed: int) -> tuple[Train, int]:
    """A training of Table 2 and how many images it takes: one epoch by encoding, twelve for an autoencoder."""
    profile = setting.profile
    epoch = _epoch(profile, dataset)
    if dataset == setting.dataset and solver is not None and {profile.few_images, epoch} <= set(profile.table1_images):
        return _few(setting, seed), epoch  # Table 1's passes there
    if dataset == setting.dataset and solver is not None and epoch == profile.watched_images:
        return _follow(setting, seed, solver, epoch), epoch  # and so does that of Figure 3
    end = epoch * (12 if solver is None else 1)
    points = {profile.few_images, end}
    if dataset == setting.dataset and solver is None:
        points |= {images for images in CURVE_IMAGES if images < end}  # for its test loss on the way
    at, embedded, validated = tuple(sorted(points)), setting.embedded(dataset), profile.validation_images
    return Train(dataset, embedded, seed, solver, at, at, validated, device=setting.device), end


def accelerated(setting: Setting, dataset: str, seed: int) -> tuple[Train, dict[str, int]]:
    """The training of Table 2 by the accelerated GFE, and by method how many images it takes: one epoch, or twelve.

    The latter is for the seeds beyond the paper; notebook 08 draws its training on the pages' own data set, and follows
    it on.
    """
    profile = setting.profile
    (_, once), (_, end) = (_converged(setting, dataset, solver, seed) for solver in (UNCAPPED, None))
    stops = {"gfe_fast": once}
    points = {once}
    if seed in setting.seeds[: profile.beyond_seeds]:
        stops["gfe_fast_long"] = end
        points.add(end)
        if dataset == setting.dataset:
            until = max(profile.beyond_images, end)
            points |= {images for images in CURVE_IMAGES if images < until} | {until}
    at, validated = tuple(sorted(points)), profile.validation_images
    return Train(dataset, setting.embedded(dataset), seed, FAST, at, at, validated, device=setting.device), stops


def table2(setting: Setting, dataset: str) -> pd.DataFrame:
    """One row of Table 2: columns dataset, method, seed, images (seen in training), config (an :class:`Evaluate`)."""
    rows = []
    for seed in setting.seeds[: setting.profile.converged_seeds]:
        for method, solver in {"ae": None, "gfe_amd_uncapped": UNCAPPED}.items():
            training, images = _converged(setting, dataset, solver, seed)
            count = 10_000 if solver is None else setting.profile.test_images
            rows.append((dataset, method, seed, images, Evaluate(training, images, solver, count)))
            if solver is None:
                encoded = Evaluate(training, images, UNCAPPED, setting.profile.test_images)
                rows.append((dataset, "ae_then_amd", seed, images, encoded))
        training, stops = accelerated(setting, dataset, seed)
        for method, images in stops.items():
            test = Evaluate(training, images, METHODS[method].tester, setting.profile.test_images)
            rows.append((dataset, method, seed, images, test))
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "images", "config"])


def optima(setting: Setting, dataset: str) -> pd.DataFrame:
    """Table 2's decoders of GFE-amd and of the AE at the optimum: columns dataset, method, seed, config.

    ``method`` is the one whose own test stands in Table 2, and ``config`` an :class:`Optimum` that also starts there.
    """
    plan = table2(setting, dataset).query("method in ('gfe_amd_uncapped', 'ae_then_amd')")
    ways = (("quasi-Newton", COLD_TEST),)
    configs = [Optimum(test, setting.profile.excess_images, ways, COLD_TEST, SETTLED) for test in plan.config]
    return plan.assign(config=configs)[["dataset", "method", "seed", "config"]]


def latents(setting: Setting) -> pd.DataFrame:
    """Figures 6 and 7: columns data ("full" or "few"), method, seed, images, config (a :class:`Latents`)."""
    profile, rows = setting.profile, []
    for seed in setting.seeds[: profile.converged_seeds]:
        for method, solver in {"gfe_amd_uncapped": UNCAPPED, "ae": None}.items():
            training, end = _converged(setting, setting.dataset, solver, seed)
            for data, images in {"full": end, "few": profile.few_images}.items():
                count = 10_000 if solver is None else profile.test_images
                evaluation = Evaluate(training, images, solver, count)
                rows.append((data, method, seed, images, Latents(evaluation, profile.map_images)))
    return pd.DataFrame(rows, columns=["data", "method", "seed", "images", "config"])
