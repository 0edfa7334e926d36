"""Minimisers of other projects as encoders, for `bench` alone: optimistix on JAX, and SciPy's L-BFGS-B."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfe_companion.methods import in_jax
from gfe_companion.methods.baselines import Library
from gfe_core.encoding import Encoding, Status, shaped
from gfe_core.landscape import Landscape, Start
from gfe_core.losses import bce
from gfe_core.objective import Objective
from gfe_core.wrappers import Moved, Penalised

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
EXTRA = {"jax": "jax", "optimistix": "optimistix"}  # module: package, those of the extra `peers`


def missing() -> list[str]:
    """The packages of the extra `peers` that are not installed."""
    return [package for module, package in EXTRA.items() if find_spec(module) is None]


def say_missing() -> str:
    """A sentence on peers that cannot take part, and how to install them; empty where all can."""
    lacking = missing()
    if not lacking:
        return ""
    return (
        f"optimistix does not take part: {' and '.join(lacking)} cannot be imported. Install what the extra `peers` "
        f"names beside the rest: {sys.executable} -m pip install -c {LOCK} {' '.join(lacking)}"
    )


@dataclass(frozen=True)
class OptimistixEncoder(Library):
    """optimistix's ``method`` "LBFGS" or "BFGS", with its own line search, for each image of a batch, compiled by JAX.

    ``tolerance`` is relative and absolute, ``steps`` the number of trials at most, ``pairs`` what LBFGS remembers. The
    images of a batch go on until the last is finished, so that all of them cost as many trials as the slowest. Takes
    the paper's loss, and decoders of the layers that :mod:`gfe_companion.methods.in_jax` knows. The first call with a
    number of images compiles for some seconds.
    """

    method: str
    tolerance: float
    steps: int = 400
    pairs: int = 10

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0``, on the CPU. Raises ``ValueError`` for another loss, or a layer without counterpart."""
        from jax import numpy as jnp

        start, (inner, base, factor, penalty) = objective.start(z0), _unwrapped(objective)
        layers, weights = in_jax.layers_of(inner.decoder)
        run = in_jax.encoder(layers, penalty, self.method, self.pairs, self.steps)
        base = torch.zeros_like(start) if base is None else base
        factor = torch.eye(start.shape[1]).to(start) if factor is None else factor
        of_images = (inner.images.flatten(1), base, factor.expand(len(start), *factor.shape[-2:]))
        rows = [jnp.asarray(_array(part)) for part in of_images]
        given = [jnp.asarray(_array(weight)) for weight in weights]
        z, loss, steps = run(jnp.asarray(_array(start)), given, tuple(rows), jnp.float32(self.tolerance))
        z, loss, steps = (torch.from_numpy(np.array(part)) for part in (z, loss, steps))
        status = torch.full(steps.shape, int(Status.BUDGET_SPENT)).where(steps >= self.steps, int(Status.CONVERGED))
        passes = len(start) * (2 * max(steps.tolist(), default=0) + 1)
        found = Encoding(z.to(start), loss.to(start), steps.to(start), steps.long(), status, passes)
        return shaped(found, objective)


@dataclass(frozen=True)
class ScipyEncoder(Library):
    """``scipy.optimize.minimize(method="L-BFGS-B")`` on all latents of a batch as one vector, by torch's gradients.

    ``steps`` is the number of iterations at most, ``pairs`` what it remembers.
    """

    steps: int
    pairs: int = 10

    @property
    def joint(self) -> bool:
        """One step length for all images."""
        return True

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0``."""
        from scipy.optimize import minimize

        before, start = objective.evaluations, objective.start(z0)

        def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = objective.value_and_grad(torch.from_numpy(flat).to(start).view_as(start))
            return float(loss.double().sum()), gradient.double().numpy(force=True).ravel()

        options = {"maxiter": self.steps, "maxfun": 20 * self.steps, "maxcor": self.pairs, "ftol": 0.0, "gtol": 0.0}
        flat = start.double().numpy(force=True).ravel()
        ended = minimize(value_and_slope, flat, jac=True, method="L-BFGS-B", options=options)
        z = torch.from_numpy(ended.x).to(start).view_as(start)
        loss = objective.value(z)
        taken, status = (torch.full(loss.shape, int(n)) for n in (ended.nit, Status.BUDGET_SPENT))
        spent = objective.evaluations - before
        return shaped(Encoding(z, loss, taken.to(loss), taken, status, spent), objective)


def _unwrapped(objective: Landscape) -> tuple[Objective, Tensor | None, Tensor | None, float]:
    """The paper's objective within, z0 and L of the coordinates in which it is seen, if any, and the penalty."""
    moved = objective if isinstance(objective, Moved) else None
    within = moved.within if moved else objective
    penalised = within if isinstance(within, Penalised) else None
    inner = penalised.within if penalised else within
    if not isinstance(inner, Objective) or inner.loss is not bce:
        raise ValueError("optimistix is given the paper's cross-entropy only; pass an Objective with loss=bce.")
    penalty = penalised.penalty if penalised else 0.0
    return inner, moved.z0 if moved else None, moved.factor if moved else None, penalty


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy(force=True)
