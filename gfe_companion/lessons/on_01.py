"""Notebook 01: a step of the flow, how long it may be, and how AMD searches for one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from gfe_companion.lessons.exercise import Exercise, Finding, called, no, number, of_number, tensor, yes

Z, GRADIENT = (torch.tensor(row, dtype=torch.float64) for row in ([0.5, -1.0, 2.0], [0.2, 0.4, -0.6]))
H = 0.25
MU = 5.0  # the curvature of the bowl whose largest step is asked for


def judge_step(answer: object) -> Finding:
    """An Euler step of dz/dt = -grad l, tried at one point with known numbers."""
    result = tensor(called(answer, Z, GRADIENT, H), (3,))
    told = {
        "the step goes uphill. The flow follows *minus* the gradient.": Z + H * GRADIENT,
        "the gradient is not multiplied by the step size `h`.": Z - GRADIENT,
        "this is the move, and not the point that it leads to: add it to `z`.": -H * GRADIENT,
        "this is `z` itself: nothing has moved.": Z,
    }
    if torch.allclose(result, Z - H * GRADIENT):
        return yes("that is Euler's method for Eq. (2), and one step of gradient descent: the two are the same.")
    for said, wrong in told.items():
        if torch.allclose(result, wrong):
            return no(said)
    right = (Z - H * GRADIENT).tolist()
    return no(
        f"at z = {Z.tolist()} with the gradient {GRADIENT.tolist()} and h = {H:g} it gives {result.tolist()}, "
        f"and should give {right}."
    )


MOST = 1000  # times that the loop of an answer may ask for the loss


class Endless(Exception):
    """A loop has asked for the loss so often that it will not end."""


def bowl(mu: float) -> Callable[[Tensor], Tensor]:
    """The loss mu / 2 (z - 1)^2 of one latent. Raises :class:`Endless` when asked more than :data:`MOST` times."""
    asked = itertools.count(1)

    def loss(z: Tensor) -> Tensor:
        if next(asked) > MOST:
            raise Endless(f"the loss was asked for {MOST:,} times, so this loop does not end")
        return (mu / 2 * (z - 1) ** 2).sum()

    return loss


def judge_backtrack(answer: object) -> Finding:
    """The first step of beta^m s that lowers the loss (Eq. 9), tried where it is s itself and where it is shorter."""
    beta, z = 0.5, torch.zeros(1, dtype=torch.float64)
    for mu, s in ((1.0, 1.5), (1.0, 8.0), (4.0, 0.5)):  # kept, shrunk three times, and one that leaves the loss equal
        loss, gradient = bowl(mu), -mu * torch.ones_like(z)
        wanted = s
        while not loss(z - wanted * gradient) < loss(z):
            wanted *= beta
        dt = number(called(answer, loss, z, gradient, s, beta))
        if dt == wanted:
            continue
        if not loss(z - dt * gradient) < loss(z):
            equal = loss(z - dt * gradient) == loss(z)
            why = "equal, and Eq. (9) asks that it *falls*" if equal else "higher"
            return no(f"on a bowl of curvature {mu:g} your step {dt:g} leaves the loss {why}. Shrink until it falls.")
        if dt < wanted:
            return no(f"your step {dt:g} lowers the loss, but the longer one {wanted:g} does too, and is tried first.")
        return no(f"your step {dt:g} is none of those that are tried: s, beta s, beta^2 s and so on.")
    return yes("the first of s, beta s, beta^2 s, ... that lowers the loss. No step of AMD can raise it.")


def backtrack(
    loss: Callable[[Tensor], Tensor], z: Tensor, gradient: Tensor, s: float, beta: float, equal: bool = False
) -> float:
    """The right answer to "01.backtrack"; with ``equal``, one that also takes steps that leave the loss as it is."""
    dt = s
    while loss(z - dt * gradient) > loss(z) or (not equal and loss(z - dt * gradient) == loss(z)):
        dt = beta * dt
    return dt


EXERCISES = (
    Exercise(
        name="01.step",
        question="Write one step of Euler's method for the gradient flow.",
        hints=(
            "A small step of $dz/dt = v$ of length $h$ leads from $z$ to $z + h v$.",
            "Here $v$ is minus the gradient.",
        ),
        judge=judge_step,
        right=lambda z, gradient, h: z - h * gradient,
        wrong={
            "uphill": lambda z, gradient, h: z + h * gradient,
            "not multiplied": lambda z, gradient, h: z - gradient,
            "the move, and not the point": lambda z, gradient, h: -h * gradient,
            "and should give": lambda z, gradient, h: z - h,
            "returns nothing": lambda z, gradient, h: print(end=""),
        },
    ),
    Exercise(
        name="01.largest",
        question="From which step size on does Euler's method leave a bowl of curvature 5?",
        hints=(
            "On the bowl $l = \\mu (z - z^*)^2 / 2$ the gradient is $\\mu (z - z^*)$. Put it into Euler's step.",
            "One step multiplies the distance $z - z^*$ by $1 - h \\mu$. When does a repeated product grow?",
            "It grows where $|1 - h \\mu| > 1$.",
        ),
        judge=of_number(
            2 / MU,
            "a step multiplies the distance to the minimum by $1 - h\\mu$, which reaches -1 at $h = 2/\\mu$.",
            {
                1 / MU: "that is the best step: $1 - h\\mu = 0$, and one step ends at the minimum. Longer ones still "
                "come nearer at each step, on alternating sides.",
                2.0: "that is the bound for a curvature of 1. Here it is 5.",
                MU / 2: "the bound falls as the curvature grows: it is the inverse of this.",
                2 * MU: "the bound falls as the curvature grows: divide by it.",
            },
            "By what does one step multiply the distance to the minimum?",
        ),
        right=0.4,
        wrong={
            "best step": 0.2,
            "curvature of 1": 2,
            "the inverse of this": 2.5,
            "divide by it": 10.0,
            "too small": 0.1,
            "a number is asked": "2/mu",
        },
    ),
    Exercise(
        name="01.backtrack",
        question="Write AMD's search for a step: the first of s, beta s, beta^2 s, ... that lowers the loss.",
        hints=(
            "Start with `dt = s`, and multiply it by `beta` while it does not do what is asked.",
            "Eq. (9) asks for $l(z - \\delta t\\, \\nabla l) < l(z)$: a loss that stays equal is not enough.",
        ),
        judge=judge_backtrack,
        right=backtrack,
        wrong={
            "leaves the loss higher": lambda loss, z, gradient, s, beta: s,
            "equal, and Eq. (9)": lambda loss, z, gradient, s, beta: backtrack(loss, z, gradient, s, beta, equal=True),
            "the longer one": lambda loss, z, gradient, s, beta: beta * backtrack(loss, z, gradient, s, beta),
            "this loop does not end": lambda loss, z, gradient, s, beta: backtrack(loss, z, gradient, s, 1 / beta),
            "none of those that are tried": lambda loss, z, gradient, s, beta: 1.9 * min(s, 1 / float(gradient.abs())),
        },
    ),
)
