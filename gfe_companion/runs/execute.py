"""What a run does: train and measure on the way, or test what a training kept."""

from __future__ import annotations

import sys
from functools import singledispatch
from typing import Protocol

import pandas as pd
import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from gfe_companion.datasets import Dataset
from gfe_companion.methods import UNCAPPED
from gfe_companion.methods.baselines import StoredLatents
from gfe_companion.runs.configs import Evaluate, Latents, Optimum, Race, RunConfig, Stiffness, Train, TrainStored
from gfe_companion.runs.optimum import optimum
from gfe_companion.runs.race import approach, started
from gfe_core.adjoint import TooCoarse
from gfe_core.encoding import Solver
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.objective import Objective
from gfe_core.training import Training, autoencoder_losses, autoencoder_step, encode_all, encoding_step
from gfe_core.warm import WarmEncoder, WarmStart

CHUNK = 50  # iterations between two looks at the clock that decides when an unfinished training is saved


class Saved(Protocol):
    """Where an unfinished run keeps its state."""

    def load(self) -> dict | None:
        """The state of an earlier attempt, if there was one."""

    def due(self) -> bool:
        """Whether it is time to save again."""

    def save(self, state: dict) -> None:
        """Keep ``state``."""


@singledispatch
def execute(config: RunConfig, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    """Do what ``config`` says on ``dataset``; ``needed`` holds the weights of its dependencies.

    Returns the run's history and the tensors to keep. A training that cannot go on, because its loss is no longer
    finite or its path too coarse for the adjoint, ends with a row whose column ``failure`` says so. Raises
    ``TypeError`` for a configuration of unknown type.
    """
    raise TypeError(f"no experiment is known for {type(config).__name__}.")


def begin(config: Train, dataset: Dataset) -> tuple[Training, nn.Module, Solver | None, object]:
    """The training of ``config`` before its first batch, its model, its solver (None: an AE) and its memory.

    The memory, of a warm encoder or an auto-decoder, has a ``state_dict``; other trainings have None.
    """
    generator = Generator().manual_seed(config.seed)
    model = AutoEncoder(generator) if config.solver is None else Decoder(generator=generator)
    model.to(config.device)
    images = dataset.train.images.to(config.device)
    if isinstance(config, TrainStored):
        stored = StoredLatents(images, model.latent_dim, config.latent_rate, config.penalty, generator)
        pool = torch.arange(len(images), device=config.device)
        training = Training(model, lambda index: stored.step(model, index), pool, generator, config.recipe)
        return training, model, config.solver, stored
    solver = config.solver.encoder() if isinstance(config.solver, WarmStart) else config.solver
    step = autoencoder_step(model) if solver is None else encoding_step(model, solver, config.gradient)
    training = Training(model, step, images, generator, config.recipe)
    return training, model, solver, solver if isinstance(solver, WarmEncoder) else None


@execute.register
def _(config: Train, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    training, model, solver, memory = begin(config, dataset)
    validation = dataset.validation.images[: config.validation_images].to(config.device)
    rows: list[dict] = []
    kept: dict[str, dict] = {}
    summed = 0.0  # training loss since the last row, summed over images
    if state := saved.load():
        training.load_state_dict(state["training"])
        rows, kept, summed = state["rows"], state["kept"], state["summed"]
        if memory is not None:
            memory.load_state_dict(state["memory"])

    points = sorted({*config.measured, *config.kept})
    bar = tqdm(
        total=points[-1], initial=training.images, desc=config.name, unit="image", disable=not sys.stderr.isatty()
    )
    with bar:
        for point in points:
            while training.images < point:
                before = training.images
                until = min(point, before + CHUNK * config.recipe.batch_size)
                try:
                    summed += training.advance(until, bar.update) * (until - before)
                except (
                    FloatingPointError,
                    TooCoarse,
                ) as error:  # a finding about the method: kept, and told by figures
                    rows.append({"images": training.images, "seconds": training.seconds, "failure": str(error)})
                    return pd.DataFrame(rows), kept
                if saved.due():
                    state = {"training": training.state_dict(), "rows": rows, "kept": kept, "summed": summed}
                    if memory is not None:
                        state["memory"] = memory.state_dict()
                    saved.save(state)
            if rows and rows[-1]["images"] >= point:
                continue  # measured by an earlier attempt
            row = {"images": point, "seconds": training.seconds}
            row["training_loss"] = summed / (point - (rows[-1]["images"] if rows else 0))
            if point in config.measured:
                row["validation_loss"] = float(encode(model, validation, solver)["loss"].double().mean())
            rows.append(row)
            summed = 0.0
            if point in config.kept:
                kept[str(point)] = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
                if isinstance(solver, WarmEncoder):
                    kept[f"{point} start"] = {name: tensor.cpu().clone() for name, tensor in solver.knowledge().items()}
    return pd.DataFrame(rows), kept


@execute.register
def _(config: Evaluate, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    model = AutoEncoder() if config.training.solver is None else Decoder()
    model.load_state_dict(needed[0][str(config.images)])
    model.to(config.device)
    images = dataset.test.images[: config.count].to(config.device)
    solver = config.solver
    if isinstance(solver, WarmStart):  # a training's own encoder, as it was then
        solver = solver.encoder()
        solver.state = {name: tensor.to(images) for name, tensor in needed[0][f"{config.images} start"].items()}
    columns = encode(model, images, solver)
    z = columns.pop("z").cpu()
    return pd.DataFrame({name: column.cpu() for name, column in columns.items()}), {"z": z}


@execute.register
def _(config: Stiffness, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    from gfe_companion.runs.stiffness import stiffness  # slow to import, as is the next one: not for every worker

    images, frames = dataset.train.images[: config.count], []
    fresh = Decoder(generator=Generator().manual_seed(config.training.seed)).state_dict()
    for stage, weights in {"0": fresh, **needed[0]}.items():
        decoder = Decoder()
        decoder.load_state_dict(weights)
        latents = UNCAPPED.encode(Objective(decoder, images)).z
        frames.append(stiffness(decoder, images, latents, config.tau, config.limit).assign(images=int(stage)))
    return pd.concat(frames), {}


@execute.register
def _(config: Optimum, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    tested, trained = needed
    model = AutoEncoder() if config.evaluation.training.solver is None else Decoder()
    model.load_state_dict(trained[str(config.evaluation.images)])
    images, own = dataset.test.images[: config.count], tested["z"][: config.count]
    history, z = optimum(getattr(model, "decoder", model), images, {"own": own})
    return history.assign(own_norm=own.norm(dim=1), norm=z.norm(dim=1)), {"z": z}


@execute.register
def _(config: Race, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    (found, trained), at = needed, config.optimum.evaluation.images
    decoder = Decoder()
    decoder.load_state_dict(trained[str(at)])
    images = dataset.test.images[: config.optimum.count]
    best = Objective(decoder, images).value(found["z"])
    return approach(decoder, images, best, started(config.entrants, trained[f"{at} start"]), config.most), {}


@execute.register
def _(config: Latents, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
    from gfe_companion.runs.latents import structure, tsne

    z, labels = needed[0]["z"][: config.count].numpy(), dataset.test.labels[: config.count].numpy()
    drawn = tsne(z, config.perplexity, config.early_exaggeration, config.learning_rate)
    return structure(z, labels, drawn), {}


def encode(model: nn.Module, images: Tensor, solver: Solver | None) -> dict[str, Tensor]:
    """Latents, losses and more of each image, by ``solver`` or, where it is None, by the autoencoder's own encoder."""
    if solver is None:
        z, loss = autoencoder_losses(model, images)
        return {"z": z, "loss": loss}
    encodings = list(encode_all(getattr(model, "decoder", model), images, solver))
    return {name: torch.cat([getattr(e, name) for e in encodings]) for name in ("z", "loss", "t", "steps", "status")}
