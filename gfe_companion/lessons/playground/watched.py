"""A solver on one image under a watch: where it stands after every look at the decoder, and an end when time is up."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from torch import Tensor

from gfe_core.descent import Rule
from gfe_core.encoding import Solver, Status
from gfe_core.landscape import InTheta, Landscape
from gfe_core.wrappers import Wrapped

PASSES = 2  # of a trial, forward and backward


class Spent(Exception):
    """All decoder passes are spent."""


class Watched(Wrapped):
    """A landscape of one image that notes every look at it, and raises :class:`Spent` before one too many.

    ``keeps``: whether the solver stands only where the loss fell, as one that tests its trials does.
    """

    def __init__(self, within: Landscape, passes: int, keeps: bool) -> None:
        super().__init__(within)
        self.before, self.keeps = within.evaluations, keeps
        self.allowed = self.before + passes
        self.frames: list[dict[str, Any]] = []
        self.latents: list[Tensor] = []

    def _ask(self) -> None:
        if self.evaluations >= self.allowed:
            raise Spent

    def _note(self, z: Tensor, loss: Tensor) -> None:
        found, before = float(loss[0]), self.frames[-1] if self.frames else None
        accepted = before is None or not self.keeps or found < before["loss"]
        self.latents.append(z[0].detach().clone() if accepted else self.latents[-1])
        steps = 0 if before is None else before["steps"] + accepted
        standing = found if accepted or before is None else before["loss"]
        self.frames.append({
            "trials": len(self.frames), "passes": self.evaluations - self.before, "steps": steps, "loss": standing,
            "accepted": accepted,
        })  # fmt: skip

    def value(self, z: Tensor) -> Tensor:
        """The loss, noted."""
        self._ask()
        loss = self.within.value(z)
        self._note(z, loss)
        return loss

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, noted, and its gradient."""
        self._ask()
        loss, gradient = self.within.value_and_grad(z)
        self._note(z, loss)
        return loss, gradient

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, noted, its gradient and its Gauss-Newton matrix."""
        self._ask()
        loss, gradient, curvature = self.within.gauss_newton(z)
        self._note(z, loss)
        return loss, gradient, curvature

    def all_gradients(self, z: Tensor) -> tuple[Tensor, InTheta]:
        """As within; no solver asks for it."""
        return self.within.all_gradients(z)

    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """As within; no solver asks for it."""
        return self.within.vector_jacobian(z, vector)

    def select(self, index: Tensor | slice) -> Watched:
        """Itself: there is one image."""
        return self


class Race:
    """``solver`` on the one image of ``objective`` with as many decoder passes as so many trials take.

    ``frames``: one for each look at the decoder . ``status``: why it ended, None until then. Both can be read while
    :meth:`run` is under way in another thread.
    """

    def __init__(self, solver: Solver, objective: Landscape, trials: int) -> None:
        with_limit = hasattr(solver, "max_trials")
        self.solver = replace(solver, max_trials=trials) if with_limit else solver  # type: ignore[type-var]
        self._watched = Watched(objective, PASSES * (trials + 1), keeps=isinstance(solver, Rule))
        self.status: str | None = None

    def run(self, z0: Tensor | None = None) -> Race:
        """Let the solver go to its end."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that the steps do not suit the loss: the curve shows it
            try:
                self.status = Status(int(self.solver.encode(self._watched, z0=z0).status[0])).name
            except Spent:
                self.status = Status.BUDGET_SPENT.name
        return self

    def stop(self) -> None:
        """Let it end at its next look at the decoder."""
        self._watched.allowed = 0

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Where the solver stood after every look at the decoder."""
        return self._watched.frames

    @property
    def latents(self) -> list[Tensor]:
        """The latent (d,) of each frame."""
        return self._watched.latents


def race(solver: Solver, objective: Landscape, trials: int, z0: Tensor | None = None) -> Race:
    """A :class:`Race` that has ended."""
    return Race(solver, objective, trials).run(z0)
