"""Beyond the paper: the runs of notebook 08, as data, and what is computed from their weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from gfe_companion.methods import COLD_TEST, FAST, FAST_TEST, UNCAPPED, entrants
from gfe_companion.methods.baselines import CoordinatesOnly, StartOnly
from gfe_companion.runs.configs import Evaluate, Optimum, Race, RunConfig, Train, TrainStored
from gfe_companion.runs.profiles import CURVE_IMAGES, Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.plans import plans as plans_of_the_paper
from gfe_companion.studies.plans import table1, table2
from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.training import CosineRecipe, Recipe
from gfe_core.warm import WarmStart

LATENT_RATES = (0.1, 0.5, 2.0)  # of the auto-decoder, swept on the first seed
LATENT_RATE = 0.5  # on the others
FREE = replace(FAST, penalty=0.0)
SCHEDULES = {"constant": "constant learning rate", "cosine": "learning rate decays to zero"}


def tester(solver: Solver | None) -> Solver | None:
    """By what a method's test images are encoded: its own encoder, with more trials where it was hurried."""
    return replace(solver, solver=FAST_TEST.solver) if isinstance(solver, WarmStart) else solver


def _seeds(setting: Setting) -> tuple[int, ...]:
    return setting.seeds[: setting.profile.beyond_seeds]


def _fast(setting: Setting, seed: int, points: tuple[int, ...], **changed: object) -> Train:
    config = Train("mnist", setting.embedded(), seed, FAST, points, points, setting.profile.validation_images,
                   device=setting.device)  # fmt: skip
    return replace(config, **changed)


def _glance(setting: Setting) -> int:
    """Validation images for trainings of which only the end counts."""
    return min(100, setting.profile.validation_images)


def _few(setting: Setting) -> dict[int, Train]:
    """Table 1's trainings by uncapped AMD, by seed."""
    plan = table1(setting).query("method == 'gfe_amd_uncapped'")
    return {row.seed: row.config.training for row in plan.itertuples()}


def curves(setting: Setting) -> pd.DataFrame:
    """Test loss on the way: columns schedule, method, seed, images, config (an :class:`Evaluate`).

    Under the cosine schedule both methods see as many images as Table 2's autoencoder; under the constant rate the
    accelerated GFE goes on to the profile's full length.
    """
    profile, rows = setting.profile, []
    converged = table2(setting, "mnist").set_index(["method", "seed"])
    few = _few(setting)
    for seed in _seeds(setting):
        ae, end = converged.loc[("ae", seed), ["config", "images"]]
        end = int(end)
        recipe = CosineRecipe(until=end)
        until = max(profile.beyond_images, end)
        far = tuple(sorted({i for i in CURVE_IMAGES if i < until} | {until, end}))
        near = tuple(sorted({i for i in CURVE_IMAGES if i < end} | {end}))
        trainings = [
            ("constant", "ae", ae.training),
            ("constant", "gfe_fast", _fast(setting, seed, far)),
            ("constant", "gfe_amd_uncapped", few[seed]),
            ("cosine", "ae", replace(ae.training, recipe=recipe)),
            ("cosine", "gfe_fast", _fast(setting, seed, near, recipe=recipe)),
        ]
        if seed == setting.seeds[0]:  # dear, and Table 2's whole epoch
            trainings.append(("constant", "gfe_amd_uncapped", converged.config["gfe_amd_uncapped", seed].training))
        for schedule, method, training in dict.fromkeys(trainings):
            for images in training.kept:
                test = Evaluate(training, images, tester(training.solver), profile.beyond_tested)
                rows.append((schedule, method, seed, images, test))
    return pd.DataFrame(rows, columns=["schedule", "method", "seed", "images", "config"])


def ends(setting: Setting) -> pd.DataFrame:
    """The last decoders of :func:`curves` on as many test images as Table 2: the same columns."""
    frame = curves(setting).query("method in ('ae', 'gfe_fast')")
    last = frame.loc[frame.groupby(["schedule", "method", "seed"], sort=False).images.idxmax()].copy()
    last["config"] = [replace(config, count=setting.profile.test_images) for config in last.config]
    return last.reset_index(drop=True)


def gaps(setting: Setting) -> pd.DataFrame:
    """The distance to the optimum: columns schedule, method, seed, images, config (an :class:`Optimum`).

    Of the last decoder of every curve, on the images that :class:`Optimum` takes.
    """
    frame, count = curves(setting), setting.profile.optimum_images
    last = frame.loc[frame.groupby(["schedule", "method", "seed"], sort=False).images.idxmax()].copy()
    last["config"] = [Optimum(replace(config, count=count), count) for config in last.config]
    return last.reset_index(drop=True)


def race(setting: Setting) -> Race:
    """The race of encoders, on a decoder of the first seed's constant training by :data:`FAST`."""
    plan = curves(setting).query("schedule == 'constant' and method == 'gfe_fast' and images <= 40_000")
    test = replace(plan.config.iloc[plan.images.argmax()], count=setting.profile.race_images)
    return Race(Optimum(test, setting.profile.race_images), entrants(), setting.profile.race_passes)


def remedies(setting: Setting) -> dict[str, dict[str, object]]:
    """What might keep a long training stable, by name: fields of its :class:`Train`."""
    patient = QuasiNewtonAMD(s_0=1.0, tolerance=1e-2, patience=2, max_trials=20)
    return {
        "none": {"solver": FREE},
        "penalty 1e-6": {"solver": replace(FAST, penalty=1e-6)},
        "penalty 1e-5": {"solver": FAST},
        "penalty 1e-4": {"solver": replace(FAST, penalty=1e-4)},
        "weight decay": {"solver": FREE, "recipe": Recipe(weight_decay=1e-4)},
        "decaying rate": {"solver": FREE, "recipe": CosineRecipe(until=setting.profile.stability_images)},
        "stop by relative decrease": {"solver": replace(FREE, solver=patient)},
        "20 cold Nesterov trials": {"solver": NesterovAMD(tolerance=0.0, max_trials=20)},
    }


def trainers(setting: Setting) -> dict[str, Solver]:
    """Encoders to learn few images by, the accelerated one among them and what it was chosen from."""
    newton = FAST.solver
    return {
        "uncapped AMD, 100 trials": UNCAPPED,
        "Barzilai-Borwein, 20 trials": BarzilaiBorweinAMD(tolerance=0.0, max_trials=20),
        "Nesterov, 20 trials": NesterovAMD(tolerance=0.0, max_trials=20),
        "quasi-Newton, 20 trials": QuasiNewtonAMD(tolerance=0.0, max_trials=20),
        "quasi-Newton, 5 trials": QuasiNewtonAMD(tolerance=0.0, max_trials=5),
        "warm Levenberg-Marquardt, 2 trials": replace(
            FAST, solver=LevenbergMarquardt(tolerance=0.0, first=None, damping=0.01, max_trials=2)
        ),
        "warm quasi-Newton, 2 trials": replace(FAST, solver=replace(newton, max_trials=2)),
        "warm quasi-Newton, 5 trials": FAST,
        "warm quasi-Newton, 20 trials": replace(FAST, solver=replace(newton, max_trials=20)),
        "warm start, own coordinates, 5 trials": StartOnly(**vars(FAST)),
        "zero start, warm coordinates, 5 trials": CoordinatesOnly(**vars(FAST)),
    }


def compared(setting: Setting) -> pd.DataFrame:
    """Each of :func:`trainers` on the images of a row of Table 1: columns trainer, seed, images, config.

    It is the last row that is no longer than the trainings of :func:`stability`; uncapped AMD's training is Table 1's.
    """
    images, rows = max(i for i in setting.profile.table1_images if i <= setting.profile.stability_images), []
    few = _few(setting)
    for seed in _seeds(setting):
        for name, solver in trainers(setting).items():
            training = _fast(setting, seed, (images,), solver=solver, validation_images=_glance(setting))
            training = few[seed] if solver == UNCAPPED else training
            test = Evaluate(training, images, tester(solver), setting.profile.beyond_tested)
            rows.append((name, seed, images, test))
    return pd.DataFrame(rows, columns=["trainer", "seed", "images", "config"])


def stability(setting: Setting) -> pd.DataFrame:
    """Long trainings under each of :func:`remedies`: columns remedy, seed, images, config (an :class:`Optimum`)."""
    images, count, rows = setting.profile.stability_images, setting.profile.optimum_images, []
    for seed in _seeds(setting):
        for remedy, fields in remedies(setting).items():
            training = _fast(setting, seed, (images,), validation_images=_glance(setting), **fields)
            test = Evaluate(training, images, tester(training.solver), count)
            rows.append((remedy, seed, images, Optimum(test, count)))
    return pd.DataFrame(rows, columns=["remedy", "seed", "images", "config"])


def auto_decoders(setting: Setting) -> pd.DataFrame:
    """DeepSDF's auto-decoder, by learning rate of its latents: columns rate, seed, images, config.

    It is tested at every fifth point of Table 2's autoencoder, before the last, by encoding from z = 0 with BFGS.
    """
    rows = []
    for row in curves(setting).query("schedule == 'constant' and method == 'ae'").itertuples():
        ae = row.config.training
        kept = ae.kept[4::5]
        if row.images not in kept:
            continue
        for rate in LATENT_RATES if row.seed == setting.seeds[0] else (LATENT_RATE,):
            changed = {"solver": COLD_TEST, "latent_rate": rate, "measured": (), "kept": kept}
            training = TrainStored(**vars(ae) | changed)
            test = Evaluate(training, row.images, COLD_TEST, setting.profile.beyond_tested)
            rows.append((rate, row.seed, row.images, test))
    return pd.DataFrame(rows, columns=["rate", "seed", "images", "config"])


def everything(setting: Setting) -> list[RunConfig]:
    """Every run of a profile, of the paper and beyond it, those that others rest on included."""
    plans = plans_of_the_paper(setting)
    plans += [make(setting) for make in (curves, ends, gaps, compared, stability, auto_decoders)]
    found = dict.fromkeys([config for plan in plans for config in plan.config] + [race(setting)])
    for config in list(found):
        while needed := config.dependencies():
            config = needed[0]
            found[config] = None
    return list(found)


def reached(plan: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """``plan`` without the rows whose training ended before their ``images``, and a column of their finished runs."""
    trainings = [config.trained for config in plan.config]
    ended = run_grid(trainings, setting)
    found = [images in set(run.history.images) for images, run in zip(plan.images, ended, strict=True)]
    plan = plan[found].reset_index(drop=True)
    return plan.assign(run=run_grid(plan.config, setting))


def time_to(curve: pd.DataFrame, loss: float) -> float:
    """Seconds at which ``curve`` (columns seconds, loss) first comes down to ``loss``; infinite if it never does.

    Between two points both the loss and the logarithm of the seconds run straight.
    """
    curve = curve.sort_values("seconds")
    seconds, losses = np.log(curve.seconds.to_numpy()), curve.loss.to_numpy()
    there = np.flatnonzero(losses <= loss)
    if not len(there):
        return float("inf")
    first = there[0]
    if first == 0:
        return float(np.exp(seconds[0]))
    share = (losses[first - 1] - loss) / (losses[first - 1] - losses[first])
    return float(np.exp(seconds[first - 1] + share * (seconds[first] - seconds[first - 1])))


def at_time(curve: pd.DataFrame, seconds: np.ndarray) -> np.ndarray:
    """Losses of ``curve`` at ``seconds``, as :func:`time_to` draws it; NaN outside its points."""
    curve = curve.sort_values("seconds")
    return np.interp(np.log(seconds), np.log(curve.seconds), curve.loss, left=np.nan, right=np.nan)


def rise(losses: pd.Series) -> float:
    """By how much, relative to the lowest loss so far, a curve of ``losses`` ever lies above it."""
    return float((losses / losses.cummin()).max() - 1)
