"""The playground in a notebook: the kernel solves, with any solver of the registry and any decoder of 784 pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import fields, replace
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from gfe_companion.lessons.playground import module, racers, weights
from gfe_companion.lessons.playground.watched import Race
from gfe_core.encoding import Solver
from gfe_core.objective import Objective
from gfe_core.wrappers import Penalised

TOY_TRUTH = (1.4, 1.1)
SLICE = 0.03  # seconds of solving between two answers
LOGIT = 1024  # what a logit of 1 is in 16 bits, as backends.js knows too


class Toy(nn.Module):
    """Notebook 01's decoder of two latents and three pixels."""

    latent_dim = 2

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, 2) to logits (B, 3)."""
        a, b = z.unbind(dim=1)
        return torch.stack([2 * a + b**2 - 1, 2 * b - a**2, a * b + a], dim=1)


def seen_loss(logits: Tensor, images: Tensor, seen: Tensor) -> Tensor:
    """Cross-entropy, the mean over the pixels that are seen: (B, P), (B, P), (B, P) -> (B,)."""
    losses = binary_cross_entropy_with_logits(logits, images, reduction="none")
    return (seen * losses).sum(dim=1) / seen.sum(dim=1)


class Playground(anywidget.AnyWidget):
    """Draw a digit and watch solvers encode it, race each other, and fill in what was erased.

    ``decoder`` maps latents to the logits of 784 pixels; by default it is the published one, as are the autoencoder's
    ``encoder`` and ``autoencoder`` (its decoder). ``solvers`` are more of them by name, to race with the registry's.
    """

    _esm = module.source()
    _css = module.style()
    solvers: traitlets.List = traitlets.List().tag(sync=True)
    presets = traitlets.Dict().tag(sync=True)
    looks = traitlets.Dict().tag(sync=True)
    labels: traitlets.List = traitlets.List().tag(sync=True)
    digits = traitlets.Bytes().tag(sync=True)

    def __init__(
        self, decoder: nn.Module | None = None, solvers: Mapping[str, Solver] | None = None,
        encoder: nn.Module | None = None, autoencoder: nn.Module | None = None,
    ) -> None:  # fmt: skip
        published = weights.read()
        self.decoder = decoder or published.networks["decoder"]
        self.encoder = encoder or published.networks["encoder"]
        self.autoencoder = autoencoder or published.networks["autoencoder"]
        self.racers = racers.everyone() | dict(solvers or {})
        self._pool = ThreadPoolExecutor(1)
        self._races: list[tuple[str, Race]] = []  # those under way, one after another, with their solvers' names
        self._ended: Future[None] = Future()
        own = {"color": "#666666", "dash": []}
        super().__init__(
            solvers=[{"name": name} for name in self.racers],
            presets=racers.presets(),
            looks=dict.fromkeys(self.racers, own) | racers.looks(),
            labels=published.labels,
            digits=in_bytes(published.digits),
        )
        self.on_msg(self._hear)

    def _hear(self, _: Any, content: dict, buffers: list) -> None:
        numbers = [torch.frombuffer(bytearray(b), dtype=torch.float64) if len(b) else None for b in buffers]
        questions: dict[str, Callable[..., tuple]] = {
            "encode": self._encode,
            "on": self._on,
            "decode": self._decode,
            "guess": self._guess,
        }
        try:
            answer, sent = questions[content["question"]](content, *numbers)
        except Exception as error:  # of a solver that cannot take these settings, or a decoder of the reader's own
            answer, sent = {"races": [], "error": str(error)}, []
        self.send({"number": content["number"], **answer}, sent)

    def _encode(self, content: dict, image: Tensor | None, mask: Tensor | None, toy: Tensor | None) -> tuple:
        """Race the solvers that are asked for, and none of earlier questions any more."""
        for _, each in self._races:
            each.stop()
        self._races = []
        for place in content["racers"]:
            name, solver = list(self.racers.items())[place]
            known = {field.name for field in fields(solver)}
            chosen = {key: value for key, value in content["settings"].get(name, {}).items() if key in known}
            objective = self._objective(image, mask, toy, content)
            self._races.append((name, Race(replace(solver, **chosen), objective, content["trials"])))
        self._ended = self._pool.submit(_run, self._races, None if toy is None else toy[None])
        return self._on({"seen": [0] * len(self._races), "toy": toy is not None})

    def _on(self, content: dict) -> tuple:
        """What there is, after a moment, beyond the frames that the page has ``seen`` of each race."""
        wait([self._ended], SLICE)
        if self._ended.done():
            self._ended.result()  # or what it raised
        races, sent = [], []
        for (name, each), seen in zip(self._races, content["seen"], strict=True):
            status, frames = each.status, each.frames[seen:]
            latents = each.latents[seen : seen + len(frames)]
            races.append({"name": name, "status": status, "frames": frames})
            found = torch.stack(latents) if latents else torch.empty(0, 1)
            sent += [found.double().numpy().tobytes(), b"" if content["toy"] or not latents else self._drawn(found)]
        return {"races": races}, sent

    def _objective(self, image: Tensor | None, mask: Tensor | None, toy: Tensor | None, content: dict) -> Penalised:
        if image is None:
            target = Toy()(torch.tensor([TOY_TRUTH], dtype=torch.float64)).sigmoid()
            return Penalised(Objective(Toy(), target), 0.0)
        dtype = next(self.decoder.parameters()).dtype
        images = image[None].to(dtype)
        if mask is None:
            return Penalised(Objective(self.decoder, images), content["penalty"])
        return Penalised(Objective(self.decoder, images, seen_loss, extra=mask[None].to(dtype)), content["penalty"])

    def _decode(self, content: dict, latents: Tensor) -> tuple:
        """What the decoder makes of latents."""
        return {}, [self._drawn(latents.reshape(content["count"], -1))]

    def _guess(self, content: dict, image: Tensor) -> tuple:
        """What the autoencoder makes of an image."""
        with torch.no_grad():
            return {}, [in_words(self.autoencoder(self.encoder(image[None].float())))]

    def _drawn(self, latents: Tensor) -> bytes:
        with torch.no_grad():
            return in_words(self.decoder(latents.to(next(self.decoder.parameters()).dtype)))


def _run(races: list[tuple[str, Race]], start: Tensor | None) -> None:
    for _, each in races:
        each.run(start)


def in_words(logits: Tensor) -> bytes:
    """Logits, 16 bits a pixel: what is sure to an extent that no 8 bits can tell still counts in the loss."""
    return (logits.clamp(-31, 31) * LOGIT).round().to(torch.int16).cpu().numpy().tobytes()


def in_bytes(pictures: Tensor) -> bytes:
    """Pictures in [0, 1], a byte a pixel."""
    return (pictures * 255).round().to(torch.uint8).cpu().numpy().tobytes()
