"""Notebook 06: Figure 5, test images and their reconstructions after 1 % of the data, and when trained."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from gfe_companion.datasets import REGISTRY
from gfe_companion.methods import METHODS
from gfe_companion.runs.configs import Evaluate
from gfe_companion.runs.encode import encode, model_with
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.converged_models import AE, GFE, seeds_of
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture, Text, listed

ROWS = 10  # images of a data set
COLUMNS = 2  # data sets beside one another
SHORT = {method: METHODS[method].look.short for method in (GFE, AE)}


def reconstructions(setting: Setting, runs: pd.DataFrame, trained: bool) -> pd.DataFrame:
    """The first test images of each class, reconstructed by both methods under the first seed.

    By networks that are ``trained``, or that have seen the profile's ``few_images``; of data sets cut from the same
    files only the first, as in the paper. Columns: dataset, label,
    test_image (its number), method, loss, pixels (a tensor (784,) in [0, 1]).
    """
    rows = []
    first = runs[runs.seed == seeds_of(setting)[0]].set_index(["dataset", "method"]).config
    for name in of_each_files():
        test = setting.load(name).test
        chosen = of_each_class(test.labels)
        made = {}
        for method in over((GFE, AE), f"reconstructions of {setting.load(name).title}"):
            config = first[name, method]
            seen = config.images if trained else setting.profile.few_images
            made[method] = reconstruct(setting, config, seen, test.images[chosen])
        for place, image in enumerate(chosen.tolist()):
            for method, (pixels, loss) in made.items():
                rows.append((name, int(test.labels[image]), image, method, float(loss[place]), pixels[place]))
    return pd.DataFrame(rows, columns=["dataset", "label", "test_image", "method", "loss", "pixels"])


def of_each_files() -> list[str]:
    """The data sets of the registry, without those whose images are an earlier one's: whose files are the same."""
    names, files = list(REGISTRY), [about.files for about in REGISTRY.values()]
    return [name for place, name in enumerate(names) if files[place] is None or files[place] not in files[:place]]


def of_each_class(labels: Tensor) -> Tensor:
    """Numbers of the first images of each class in ``labels`` (N,), equally many of each, :data:`ROWS` at most."""
    classes = labels.unique()
    each = max(1, ROWS // len(classes))
    return torch.cat([(labels == label).nonzero()[:each, 0] for label in classes])[:ROWS]


def reconstruct(setting: Setting, config: Evaluate, seen: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 784) and losses (B,) of ``images``, by the network of ``config`` after ``seen`` training images."""
    (run,) = run_grid([config.training], setting)
    model = model_with(run.weights[str(seen)], config.training.solver)
    encoded = encode(model, images, config.solver)
    with torch.no_grad():
        return getattr(model, "decoder", model)(encoded["z"]).sigmoid(), encoded["loss"]


def fig5_a(setting: Setting, drawn: pd.DataFrame) -> Picture:
    """Figure 5 (a): after few training images."""
    return _picture(setting, drawn, "fig5_a", f"after {setting.profile.few_images:,} training images")


def fig5_b(setting: Setting, drawn: pd.DataFrame) -> Picture:
    """Figure 5 (b): trained."""
    return _picture(setting, drawn, "fig5_b", "when trained")


def _picture(setting: Setting, drawn: pd.DataFrame, name: str, when: str) -> Picture:
    parts = dict(list(drawn.groupby("dataset", sort=False)))
    rows = max(part.test_image.nunique() for part in parts.values())
    across, down = min(len(parts), COLUMNS), math.ceil(len(parts) / COLUMNS)
    figure = plt.figure(figsize=(WIDTH * across / COLUMNS, (0.65 * rows + 0.7) * down))
    blocks = figure.subfigures(down, across, wspace=0.04, squeeze=False)
    for block, (dataset, part) in zip(blocks.flat, parts.items(), strict=False):
        _block(setting, block, str(dataset), part, rows)
    figure.suptitle(f"Reconstructions of test images, {when}", fontsize="medium")
    titles = listed([setting.load(str(dataset)).title for dataset in parts])
    alt = (
        f"Test images of each class of {titles}, their reconstructions by {SHORT[GFE]} and by the AE {when}, "
        f"and the errors. {_means(setting, drawn)}"
    )
    return Picture(name, figure, alt, drawn.drop(columns="pixels"))


def _block(setting: Setting, block: Figure | SubFigure, dataset: str, part: pd.DataFrame, rows: int) -> None:
    """Draw one data set: a row an image, of ``rows``."""
    about = setting.load(dataset)
    panels = block.subplots(rows, 1 + 2 * len(SHORT), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for axes in panels.flat:
        axes.axis("off")
    for row, (image, made) in zip(panels, part.groupby("test_image", sort=False), strict=False):
        y, pixels = about.test.images[image], made.set_index("method").pixels
        tiles = [y] + [tile for method in SHORT for tile in (pixels[method], 1 - (pixels[method] - y).abs())]
        for axes, tile in zip(row, tiles, strict=True):
            axes.imshow(tile.reshape(28, 28).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    titles = ["image", *(title for short in SHORT.values() for title in (short.replace(", ", ",\n"), "error"))]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    block.suptitle(wrapped(about.title, 0.9 * WIDTH / COLUMNS, 9), fontsize=9)


def say_losses(setting: Setting, drawn: pd.DataFrame) -> Text:
    """The mean loss of the images that are drawn, by data set and method."""
    return Text(_means(setting, drawn))


def _means(setting: Setting, drawn: pd.DataFrame) -> str:
    mean = drawn.groupby(["dataset", "method"], sort=False).loss.mean()
    said = [
        f"{setting.load(dataset).title}: " + " / ".join(f"{mean[dataset, method]:.4f}" for method in SHORT)
        for dataset in dict.fromkeys(drawn.dataset)
    ]
    return f"Mean loss of these images, {' / '.join(SHORT.values())}. {'; '.join(said)}."
