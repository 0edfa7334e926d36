"""Notebook 00: the idea in one picture, the two networks with their sizes, and what the profiles compute."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from gfe_companion.evidence.claims import definition
from gfe_companion.methods import METHODS, UNCAPPED
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.studies import borrowed
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.encoding_as_gradient_flow import recorded
from gfe_companion.studies.results import Picture, Table, Text
from gfe_core.encoding import Path
from gfe_core.models import Decoder, Encoder
from gfe_core.objective import Objective

IMAGES = 4  # the first test images
FRAMES = 10  # of the moving picture
TIMES = (0.0, 1.0, 10.0, 100.0, 1000.0)  # of the flow, at which they are pictured, besides its end


def needs(setting: Setting) -> list[RunConfig]:
    """The one training that notebook 00 rests on, whose decoder it borrows."""
    return [borrowed.training(setting)]


def fig_idea(setting: Setting) -> Picture:
    """Reconstructions of the first test images along their flows, which all start from the same picture, D(0)."""
    decoders = borrowed.decoders(setting)
    seen = max(decoders)
    objective = Objective(decoders[seen], setting.load().test.images[:IMAGES])
    path = recorded(UNCAPPED.encode(objective, record=True))
    columns = [rows_at(path, time) for time in TIMES] + [torch.full((IMAGES,), len(path.t) - 1)]
    heads = [f"$t$ = {time:,.0f}" for time in TIMES] + ["the end", "the image"]
    figure, panels = plt.subplots(IMAGES, len(heads), figsize=(WIDTH, 4.1))
    for image, row in enumerate(panels):
        with torch.no_grad():
            pictures = [torch.sigmoid(objective.decoder(path.z[rows[image], image])) for rows in columns]
        for axes, picture in zip(row, [*pictures, objective.images[image]], strict=True):
            axes.imshow(picture.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    first, last = path.loss[0].mean(), path.loss[-1].mean()
    said = f"one start for {IMAGES} test images, whose mean loss falls from {first:.2f} to {last:.2f}"
    figure.suptitle(wrapped(f"{setting.load().title}: {said}"), fontsize="medium")
    alt = (
        f"{IMAGES} rows of reconstructions. The first column, D(0), is the same picture in all of them; to the right "
        f"each sharpens into its own image. {said.capitalize()}, by a decoder that learned from {seen:,} images."
    )
    numbers = [
        {"image": image, "t": path.t[rows[image], image].item(), "loss": path.loss[rows[image], image].item()}
        for rows in columns
        for image in range(IMAGES)
    ]
    return Picture("fig_00_idea", figure, alt, pd.DataFrame(numbers), moving_idea(setting, objective, path))


def moving_idea(setting: Setting, objective: Objective, path: Path) -> Iterator[Figure]:
    """The same as frames of one figure: what the decoder draws, above the images, as time goes by."""
    figure, (above, below) = plt.subplots(2, IMAGES, figsize=(WIDTH, 4.1))
    shown = []
    for axes, image in zip([*above, *below], [*objective.images, *objective.images], strict=True):
        shown.append(axes.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1))
        axes.set(xticks=[], yticks=[])
    above[0].set_ylabel("the decoder draws")
    below[0].set_ylabel("the image")
    times = torch.logspace(-0.25, path.t.max().log10().item(), FRAMES - 1).tolist()
    for time in over((0.0, *times), "pictures"):
        rows, images = rows_at(path, time), torch.arange(IMAGES)
        with torch.no_grad():
            pictures = torch.sigmoid(objective.decoder(path.z[rows, images]))
        for place, picture in zip(shown, pictures, strict=False):
            place.set_data(picture.reshape(28, 28))
        loss = path.loss[rows, images].mean()
        figure.suptitle(f"{setting.load().title}: $t$ = {time:,.0f}, mean loss {loss:.2f}", fontsize="medium")
        yield figure
        figure.set_layout_engine("none")  # the layout is found
    plt.close(figure)


def rows_at(path: Path, time: float) -> torch.Tensor:
    """For each image the last row of its ``path`` at which the flow has not passed ``time``: (B,)."""
    return (path.t <= time).sum(dim=0) - 1


def layers(network: nn.Sequential) -> list[int]:
    """The widths of a network of linear layers, from its input to its output."""
    linear = [part for part in network if isinstance(part, nn.Linear)]
    return [linear[0].in_features, *(part.out_features for part in linear)]


def parameters(network: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def fig_networks() -> Picture:
    """The autoencoder, and the decoder alone with the flow that takes the encoder's place, drawn to their sizes."""
    encoder, decoder = Encoder(), Decoder()
    ae, gfe = METHODS["ae"].look, METHODS["gfe_amd_uncapped"].look
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 4.4), sharex=True)
    down, up = layers(encoder), layers(decoder)
    _draw(above, [*down, *up[1:]], 0, ae.color)
    above.text(2, -24, "encoder", ha="center", color=ae.color)
    above.text(6, -24, "decoder", ha="center", color=ae.color)
    _draw(below, up, 4, gfe.color)
    below.text(6, -24, "decoder", ha="center", color=gfe.color)
    below.annotate(
        "", (3.75, 0), (1.6, 0), arrowprops={"arrowstyle": "-|>", "color": gfe.color, "linewidth": 1.6}
    )  # fmt: skip
    below.text(1.5, 0, "no encoder:\n$z$ follows $-\\nabla_z\\, l$,\nfrom $z(0) = 0$", ha="right", va="center")
    both = parameters(encoder) + parameters(decoder)
    above.set_title(f"autoencoder: two networks, {both:,} parameters")
    below.set_title(f"gradient flow encoding: one network, {parameters(decoder):,} parameters")
    alt = (
        f"Above, an autoencoder: layers of {', '.join(map(str, down))} numbers down to the latent, and of "
        f"{', '.join(map(str, up[1:]))} up to the logits of the pixels. Below, the same decoder alone, whose latent "
        "follows the gradient from zero."
    )
    return Picture("fig_00_networks", figure, alt)


def _draw(axes: Axes, widths: list[int], first: int, color: str) -> None:
    """A bar for each of ``widths``, as high as its square root, from the place ``first`` on, and lines between them."""
    heights = [width**0.5 for width in widths]
    for place, (width, height) in enumerate(zip(widths, heights, strict=True), first):
        axes.bar(place, height, 0.34, -height / 2, color=color, alpha=1.0 if width == min(widths) else 0.55)
        axes.text(place, height / 2 + 1, str(width), ha="center", va="bottom", fontsize=9)
    for place, (left, right) in enumerate(pairwise(heights), first):
        for side in (-0.5, 0.5):
            axes.plot([place + 0.17, place + 0.83], [side * left, side * right], color=color, linewidth=0.8)
    axes.set(xlim=(-0.6, 8.6), ylim=(-26, 20))
    axes.axis("off")


def say_networks() -> Text:
    """What is between the layers, and what the latents and the parameters come to."""
    decoder, encoder = Decoder(), Encoder()
    share = parameters(decoder) / (parameters(decoder) + parameters(encoder))
    return Text(
        f"A latent has {decoder.latent_dim} numbers, an image {layers(decoder)[-1]} pixels. ELU stands between the "
        "linear layers and nothing after the last one, so that a decoder returns logits, and the loss applies the "
        f"sigmoid. GFE trains {share:.0%} of the parameters that the autoencoder trains, its decoder."
    )


def say_verdicts() -> Text:
    """What each verdict on a claim means, in the rulebook's words."""
    return Text(definition().split("\n\n")[1])


def table_profiles() -> Table:
    """What each profile computes of Table 1 and Figure 4."""
    rows = [
        {
            "profile": profile.name,
            "seeds": len(profile.seeds),
            "training images in Table 1": f"{min(profile.table1_images):,} to {max(profile.table1_images):,}",
            "test images there": f"{profile.test_images:,}",
            "Figure 4 to": f"{max(profile.curve_ae, *profile.table1_images):,}",
        }
        for profile in PROFILES.values()
    ]
    frame = pd.DataFrame(rows).astype(str)
    title = "What the profiles compute"
    notes = "Figure 4: training images to which the longest curve, the autoencoder's, is followed. One seed decides no "
    return Table("table_00_profiles", frame, frame, title, f"{notes}claim that is over seeds.")
