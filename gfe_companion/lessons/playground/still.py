"""The picture that stands where no script runs: one digit as AMD encodes it, beside the autoencoder's."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import torch

from gfe_companion.lessons.playground import weights
from gfe_companion.lessons.playground.watched import race
from gfe_companion.methods import UNCAPPED
from gfe_core.objective import Objective, bce

TRIALS = (0, 3, 10, 60)


def picture() -> tuple[bytes, str]:
    """A PNG of the first published digit, with what the decoder makes of it on the way, and the words for it."""
    published = weights.read()
    networks, image = published.networks, published.digits[:1]
    went = race(UNCAPPED, Objective(networks["decoder"], image), TRIALS[-1])
    guessed = networks["autoencoder"](networks["encoder"](image))
    shown = {"image": image[0]}
    told = []
    for trials in TRIALS:
        at = min(trials, len(went.frames) - 1)
        shown[f"{trials} trials"] = networks["decoder"](went.latents[at]).sigmoid()
        told.append(f"{went.frames[at]['loss']:.3f} after {trials} trials")
    shown["autoencoder"] = guessed[0].sigmoid()
    figure, panels = plt.subplots(1, len(shown), figsize=(7.5, 1.6))
    for axes, (title, pixels) in zip(panels, shown.items(), strict=True):
        axes.imshow(pixels.detach().numpy().reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    with torch.no_grad():
        by_encoder = float(bce(guessed, image))
    alt = (
        f"The digit {published.labels[0]} and what the decoder makes of it while AMD encodes it. "
        f"The loss is {', '.join(told)}; the autoencoder's is {by_encoder:.3f}."
    )
    return drawn.getvalue(), alt
