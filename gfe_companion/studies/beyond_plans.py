"""Beyond the paper: the runs of notebook 08, as data, and the frames of those that are finished."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from gfe_companion.methods import COLD_TEST, FAST, FAST_TEST, METHODS, UNCAPPED, entrants
from gfe_companion.methods.baselines import CoordinatesOnly, StartOnly
from gfe_companion.runs.configs import Evaluate, Optimum, Race, RunConfig, Train, TrainStored
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import CURVE_IMAGES
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.plans import accelerated, table1, table2
from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.training import CosineRecipe, Recipe
from gfe_core.warm import WarmStart

LATENT_RATES = (0.5, 2.0, 8.0)  # of the auto-decoder, swept on the first seed
LATENT_RATE = 0.5  # on the others
FREE = replace(FAST, penalty=0.0)
SCHEDULES = {"constant": "constant learning rate", "cosine": "learning rate decays to zero"}
DECAYING = 3  # the part of the images of Table 2's autoencoder after which a decaying rate is zero
ACCELERATED, PATIENT = "warm quasi-Newton, 5 trials", "warm quasi-Newton, 20 trials"


class Learner(NamedTuple):
    """How a decoder learns here: the encoder of its training, that of its test images, and the recipe."""

    solver: Solver
    tester: Solver
    recipe: Recipe = Recipe()


def _cold(solver: Solver) -> Learner:
    return Learner(solver, solver)


def _warm(solver: WarmStart) -> Learner:
    return Learner(solver, patient(solver))


def patient(solver: WarmStart) -> WarmStart:
    """A warm encoder for test images, which have as many trials as those of :data:`FAST`."""
    return replace(solver, solver=FAST_TEST.solver)


def with_trials(trials: int) -> WarmStart:
    """:data:`FAST` with another number of trials."""
    return replace(FAST, solver=replace(FAST.solver, max_trials=trials))  # type: ignore[type-var]


def seeds_of(setting: Setting) -> tuple[int, ...]:
    """The seeds that the trainings beyond the paper get."""
    return setting.seeds[: setting.profile.beyond_seeds]


def _fast(setting: Setting, seed: int, points: tuple[int, ...], recipe: Recipe) -> Train:
    validated = setting.profile.validation_images
    return Train(setting.dataset, setting.embedded(), seed, FAST, points, points, validated, recipe, setting.device)


def _end_of(setting: Setting, seed: int, images: int, solver: Solver, recipe: Recipe) -> Train:
    """A training of which only the end counts: a glance at the validation images will do."""
    training = _fast(setting, seed, (images,), recipe)
    return replace(training, solver=solver, validation_images=min(100, training.validation_images))


def _few(setting: Setting) -> dict[int, Train]:
    """Table 1's trainings by uncapped AMD, by seed."""
    plan = table1(setting).query("method == 'gfe_amd_uncapped'")
    return {row.seed: row.config.training for row in plan.itertuples()}


def curves(setting: Setting) -> pd.DataFrame:
    """Test loss on the way: columns schedule, method, seed, images, config (an :class:`Evaluate`).

    Under the cosine schedule both methods see a third as many images as Table 2's autoencoder; under the constant rate
    the accelerated GFE goes on to the profile's full length.
    """
    profile, rows = setting.profile, []
    converged = table2(setting, setting.dataset).set_index(["method", "seed"])
    few = _few(setting)
    for seed in seeds_of(setting):
        ae, end = converged.loc[("ae", seed), ["config", "images"]]
        end = int(end) // DECAYING // Recipe.batch_size * Recipe.batch_size
        recipe = CosineRecipe(until=end)
        near = tuple(sorted({i for i in CURVE_IMAGES if i < end} | {end}))
        trainings = [
            ("constant", "ae", ae.training),
            ("constant", "gfe_fast", accelerated(setting, setting.dataset, seed)[0]),
            ("constant", "gfe_amd_uncapped", few[seed]),
            ("cosine", "ae", replace(ae.training, measured=near, kept=near, recipe=recipe)),
            ("cosine", "gfe_fast", _fast(setting, seed, near, recipe)),
        ]
        if seed == setting.seeds[0]:  # dear, and Table 2's whole epoch
            trainings.append(("constant", "gfe_amd_uncapped", converged.config["gfe_amd_uncapped", seed].training))
        for schedule, method, training in dict.fromkeys(trainings):
            for images in training.kept:
                tester = METHODS[method].tester or METHODS[method].solver
                test = Evaluate(training, images, tester, profile.beyond_tested)
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


def remedies(setting: Setting) -> dict[str, Learner]:
    """What might keep a long training stable, by name."""
    patient = QuasiNewtonAMD(s_0=1.0, tolerance=1e-2, patience=2, max_trials=20)
    free = _warm(FREE)
    return {
        "none": free,
        "penalty 1e-6": _warm(replace(FAST, penalty=1e-6)),
        "penalty 1e-5": _warm(FAST),
        "penalty 1e-4": _warm(replace(FAST, penalty=1e-4)),
        "weight decay": free._replace(recipe=Recipe(weight_decay=1e-4)),
        "decaying rate": free._replace(recipe=CosineRecipe(until=setting.profile.stability_images)),
        "stop by relative decrease": _warm(replace(FREE, solver=patient)),
        "20 cold Nesterov trials": _cold(NesterovAMD(tolerance=0.0, max_trials=20)),
    }


def trainers() -> dict[str, Learner]:
    """Encoders to learn few images by, the accelerated one among them."""
    return {
        "uncapped AMD, 100 trials": _cold(UNCAPPED),
        "Barzilai-Borwein, 20 trials": _cold(BarzilaiBorweinAMD(tolerance=0.0, max_trials=20)),
        "Nesterov, 20 trials": _cold(NesterovAMD(tolerance=0.0, max_trials=20)),
        "quasi-Newton, 20 trials": _cold(QuasiNewtonAMD(tolerance=0.0, max_trials=20)),
        "quasi-Newton, 5 trials": _cold(QuasiNewtonAMD(tolerance=0.0, max_trials=5)),
        "warm Levenberg-Marquardt, 2 trials": _warm(
            replace(FAST, solver=LevenbergMarquardt(tolerance=0.0, first=None, damping=0.01, max_trials=2))
        ),
        "warm quasi-Newton, 2 trials": _warm(with_trials(2)),
        ACCELERATED: _warm(FAST),
        PATIENT: _warm(with_trials(20)),
        "warm start, own coordinates, 5 trials": _warm(StartOnly(**vars(FAST))),
        "zero start, warm coordinates, 5 trials": _warm(CoordinatesOnly(**vars(FAST))),
    }


def compared(setting: Setting) -> pd.DataFrame:
    """Each of :func:`trainers` on the images of a row of Table 1: columns trainer, seed, images, config.

    It is the last row that is no longer than the trainings of :func:`stability`; uncapped AMD's training is Table 1's.
    """
    images, rows = max(i for i in setting.profile.table1_images if i <= setting.profile.stability_images), []
    few = _few(setting)
    for seed in seeds_of(setting):
        for name, (solver, tester, recipe) in trainers().items():
            training = _end_of(setting, seed, images, solver, recipe) if solver != UNCAPPED else few[seed]
            rows.append((name, seed, images, Evaluate(training, images, tester, setting.profile.beyond_tested)))
    return pd.DataFrame(rows, columns=["trainer", "seed", "images", "config"])


def stability(setting: Setting) -> pd.DataFrame:
    """Long trainings under each of :func:`remedies`: columns remedy, seed, images, config (an :class:`Optimum`)."""
    images, count, rows = setting.profile.stability_images, setting.profile.optimum_images, []
    for seed in seeds_of(setting):
        for remedy, (solver, tester, recipe) in remedies(setting).items():
            training = _end_of(setting, seed, images, solver, recipe)
            rows.append((remedy, seed, images, Optimum(Evaluate(training, images, tester, count), count)))
    return pd.DataFrame(rows, columns=["remedy", "seed", "images", "config"])


def auto_decoders(setting: Setting) -> pd.DataFrame:
    """DeepSDF's auto-decoder, by learning rate of its latents: columns rate, seed, images, config.

    It is tested at every fifth point of Table 2's autoencoder, by encoding from z = 0 with BFGS. Where
    rates are swept, its last point is validated too.
    """
    rows = []
    for row in curves(setting).query("schedule == 'constant' and method == 'ae'").itertuples():
        ae = row.config.training
        kept = ae.kept[4::5]
        if row.images not in kept:
            continue
        swept = row.seed == setting.seeds[0]
        for rate in LATENT_RATES if swept else (LATENT_RATE,):
            measured = kept[-1:] if swept else ()
            changed = {"solver": COLD_TEST, "latent_rate": rate, "measured": measured, "kept": kept}
            training = TrainStored(**vars(ae) | changed)
            test = Evaluate(training, row.images, COLD_TEST, setting.profile.beyond_tested)
            rows.append((rate, row.seed, row.images, test))
    return pd.DataFrame(rows, columns=["rate", "seed", "images", "config"])


def planned(setting: Setting) -> list[RunConfig]:
    """All runs of the frames above, without those that they rest on."""
    plans = [make(setting) for make in (curves, ends, gaps, compared, stability, auto_decoders)]
    return [*dict.fromkeys(config for plan in plans for config in plan.config), race(setting)]


def reached(plan: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """``plan`` without the rows whose training ended before their ``images``, and a column of their finished runs."""
    ended = run_grid([config.trained for config in plan.config], setting)
    found = [images in set(run.history.images) for images, run in zip(plan.images, ended, strict=True)]
    plan = plan[found].reset_index(drop=True)
    return plan.assign(run=run_grid(plan.config, setting))


def tested(plan: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """:func:`reached` of a plan of tests, with the mean test loss and the seconds of training up to ``images``.

    The loss is that of the first images only, those of the curves; seconds are compute seconds of the training.
    """
    plan = reached(plan, setting)
    loss = [run.history.loss[: setting.profile.beyond_tested].mean() for run in plan.run]
    trained = run_grid([config.training for config in plan.config], setting)
    seconds = [
        run.history.query("images == @images").seconds.iloc[0] for run, images in zip(trained, plan.images, strict=True)
    ]
    return plan.assign(loss=loss, seconds=seconds)
