"""The playground's own engine, asked by Node or by a browser what gfe_core is asked here."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from gfe_companion.datasets.digits import digits
from gfe_companion.lessons.playground import weights
from gfe_companion.methods import LITERAL, UNCAPPED
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.encoding import Status

SOLVERS = {
    "the paper's, to tau": replace(LITERAL, tau=200.0, tolerance=0.0),
    "the paper's": replace(LITERAL, max_trials=40),
    "uncapped": replace(UNCAPPED, max_trials=40),
    "uncapped, other settings": AMD(2e3, 0.5, 1.6, 2.0, 200.0, 1e-4, grow_accepted=True, max_trials=30),
    "quasi-Newton": QuasiNewtonAMD(max_trials=50),
    "quasi-Newton, other settings": QuasiNewtonAMD(1e-3, 3, 0.0, 40, 0.3, 10.0, 1e4),
}
ANSWER = """(engine, networks, { kind, settings, images, mask, penalty, starts, toy }) => {
  const solve = { AMD: engine.amd, QuasiNewtonAMD: engine.quasiNewton }[kind];
  const answers = images.map((image, i) => {
    const objective = toy ? engine.toyObjective() : new engine.Objective(networks.decoder, image, { mask, penalty });
    const running = solve(objective, settings, Float64Array.from(starts ? starts[i] : objective.start()));
    const frames = [];
    for (;;) {
      const { value, done } = running.next();
      if (done) return { ...frames.at(-1), z: [...frames.at(-1).z], status: value, losses: frames.map((f) => f.loss) };
      frames.push(value);
    }
  });
  const seen = images[0].length === 784;
  return { answers, guess: seen ? [...networks.autoencoder.forward(networks.encoder.forward(images[0]))] : [] };
}"""


@lru_cache
def problem(count: int) -> tuple[nn.Module, Tensor]:
    """The published decoder and the first test images (``count``, 784), in double precision."""
    return weights.read().networks["decoder"].double(), digits()[2].images[:count].double()


def question(solver, images, **more):
    """What :data:`ANSWER` is asked, in JSON."""
    asked = {"kind": type(solver).__name__, "settings": asdict(solver), "images": images.tolist(), "penalty": 0}
    return json.dumps(asked | more)


def same(answers, encoding, latents=1e-3, losses=1e-4, steps=True):
    """The engine ended where gfe_core did, for the same reason, after as many steps and decoder passes."""
    z = torch.tensor([answer["z"] for answer in answers], dtype=torch.float64)
    loss = torch.tensor([answer["loss"] for answer in answers], dtype=torch.float64)
    assert (z - encoding.z).abs().max() < latents
    assert (loss - encoding.loss).abs().max() < losses
    assert [answer["status"] for answer in answers] == [Status(int(status)).name for status in encoding.status]
    if steps:
        assert [answer["steps"] for answer in answers] == encoding.steps.tolist()
        assert sum(answer["passes"] for answer in answers) == encoding.evaluations
