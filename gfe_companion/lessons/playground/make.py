"""Make the playground's weights from runs: python -m gfe_companion.lessons.playground.make [--profile paper]."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from gfe_companion.lessons.playground import weights
from gfe_companion.lessons.playground.racers import everyone
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import Run, finished, run_grid
from gfe_companion.studies import plans
from gfe_core.encoding import Solver
from gfe_core.models import AutoEncoder
from gfe_core.objective import Objective, bce

BITS = 4  # a weight
EXAMPLES = 2000  # training images on which the rounded networks shall do what those of the run do
CHECKED = 500  # validation images on which the rounded networks are compared with those of the run
ENCODED, ENCODER = ("gfe_fast_long", "gfe_fast"), "ae"


def trainings(setting: Setting) -> pd.DataFrame:
    """The trainings of Table 2 on MNIST whose networks may be shown: by the accelerated GFE, and last the AE's.

    Columns method, images, config (a training).
    """
    plan = plans.table2(setting, "mnist")
    plan = plan[plan.seed == setting.seeds[0]].drop_duplicates("method").set_index("method")
    rows = [
        (method, int(plan.images[method]), plan.config[method].training)
        for method in (*ENCODED, ENCODER)
        if method in plan.index
    ]
    return pd.DataFrame(rows, columns=["method", "images", "config"])


def ready(setting: Setting) -> bool:
    """Whether all trainings are there."""
    plan = trainings(setting)
    return len(finished(list(plan.config))) == len(plan)


def best(decoders: dict[str, nn.Module], images: torch.Tensor) -> str:
    """Which of ``decoders`` suits both solvers of the report: the worse of their mean losses of ``images`` is lowest.

    On validation images. A decoder that was trained for long from warm starts is sharp there, and AMD, which begins at
    zero, may end its trials far from that.
    """
    worse = {name: max(encoded(decoder, images).values()) for name, decoder in decoders.items()}
    return min(worse, key=worse.__getitem__)


def publish(setting: Setting, path: Path = weights.PUBLISHED) -> dict:
    """Write the :func:`best` decoder and the AE in few bits, a digit of each kind, and where they come from beside it.

    Returns the latter. Runs that are not there yet are made.
    """
    plan = trainings(setting).set_index("method")
    plan["run"] = run_grid(list(plan.config), setting)
    models = {row.Index: model_with(row.run.weights[str(row.images)], row.config.solver) for row in plan.itertuples()}
    autoencoder = models.pop(ENCODER)
    assert isinstance(autoencoder, AutoEncoder)
    chosen = best(models, setting.load().validation.images[:CHECKED])
    decoder = models[chosen]
    assert isinstance(decoder, nn.Sequential)
    networks = {"decoder": decoder, "encoder": autoencoder.encoder, "autoencoder": autoencoder.decoder}
    images = setting.load().train.images[:EXAMPLES]
    latents = everyone()["quasi-Newton"].encode(Objective(decoder, images)).z
    inputs = {"decoder": latents, "encoder": images, "autoencoder": autoencoder.encoder(images)}
    test = setting.load().test
    places = [int((test.labels == label).nonzero()[0]) for label in test.labels.unique()]
    labels = test.labels[places].tolist()
    provenance = {
        "profile": setting.profile.name,
        "data": setting.load().title,
        "bits": BITS,
        "networks": [_of(row.run, row.Index, row.images) for row in plan.loc[[chosen, ENCODER]].itertuples()],
        "digits": {"split": "test", "places": places},
    }
    weights.write(path, networks, inputs, BITS, test.images[places], labels, provenance)
    provenance["validation_loss"] = compared(networks, weights.read(path).networks, setting)
    path.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    return provenance


def _of(run: Run, method: str, images: int) -> dict:
    return {
        "method": method, "run": run.folder.name, "seed": run.config.trained.seed, "images": int(images),
        "versions": run.provenance["versions"], "data": run.provenance["data"]["md5"],
    }  # fmt: skip


def compared(whole: dict, rounded: dict, setting: Setting) -> dict[str, dict[str, float]]:
    """The mean validation loss by each way of encoding, of networks as they were trained and as they are written."""
    images = setting.load().validation.images[:CHECKED]
    return {name: losses(networks, images) for name, networks in {"trained": whole, "rounded": rounded}.items()}


@torch.no_grad()
def losses(networks: dict, images: torch.Tensor) -> dict[str, float]:
    """The mean loss of ``images`` (N, 784) by the two solvers of the report and by the autoencoder."""
    guessed = networks["autoencoder"](networks["encoder"](images))
    return encoded(networks["decoder"], images) | {"autoencoder": bce(guessed, images).mean().item()}


@torch.no_grad()
def encoded(decoder: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """The mean loss of ``images`` (N, 784) by each of the two solvers of the report."""
    solvers: dict[str, Solver] = dict(list(everyone().items())[:2])
    return {name: solver.encode(Objective(decoder, images)).loss.mean().item() for name, solver in solvers.items()}


def main() -> None:
    """Read the arguments, write the file and say what it lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--data", default="auto")
    options = parser.parse_args()
    print(json.dumps(publish(Setting.of(options.profile, options.data))["validation_loss"], indent=1))


if __name__ == "__main__":
    main()
