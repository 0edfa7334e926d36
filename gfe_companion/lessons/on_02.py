"""Notebook 02: what Eq. (6) drops, when that is zero, and the signs of the adjoint's equations."""

from __future__ import annotations

import torch
from torch import Tensor

from gfe_companion.lessons.exercise import Exercise, Finding, called, no, of_choice, tensor, yes

THETA, Y = (torch.tensor(row, dtype=torch.float64) for row in ([1.0, 0.5], [1.0, 2.0]))


def loss(z: Tensor, theta: Tensor) -> Tensor:
    """The toy of the page: one latent, two pixels, D(z) = theta z."""
    return (theta * z - Y).square().sum() / 2


def flow(theta: Tensor) -> Tensor:
    """Where three steps down the loss lead from z = 0; keeps its graph in theta."""
    z = torch.zeros((), dtype=torch.float64)
    for _ in range(3):
        z = z - 0.2 * (theta * (theta * z - Y)).sum()
    return z


def whole(theta: Tensor) -> Tensor:
    """The whole gradient in theta at the end of :func:`flow`."""
    return torch.autograd.grad(loss(flow(theta), theta), theta)[0]


def partial(theta: Tensor) -> Tensor:
    """What Eq. (6) keeps of it."""
    return torch.autograd.grad(loss(flow(theta).detach(), theta), theta)[0]


def judge_detach(answer: object) -> Finding:
    """The gradient of Eq. (6), tried at the end of a flow that stops early."""
    theta = THETA.clone().requires_grad_()
    returned = called(answer, loss, flow, theta)
    if isinstance(returned, tuple):
        return no("`torch.autograd.grad` returns a tuple, with a gradient for each input. Return the first of it.")
    result = tensor(returned, (2,))
    right, all_of_it = partial(theta), whole(theta)
    told = {
        "this is the whole gradient: autograd went back through the flow. Eq. (6) takes z as a constant.": all_of_it,
        "this is the part that Eq. (6) drops.": all_of_it - right,
        "this has the wrong sign: what is asked for is the gradient, and not the step against it.": -right,
    }
    if torch.allclose(result, right):
        return yes("`detach` cuts the graph between z and theta, and with it the dropped part.")
    for said, wrong in told.items():
        if torch.allclose(result, wrong):
            return no(said)
    return no(f"it gives {result.tolist()}, which is neither the kept part of the gradient nor the dropped one.")


def judge_signs(answer: object) -> Finding:
    """The signs of lambda(tau) and of its flow that go with a plus before the integral of Eq. (4)."""
    signs = tuple(tensor(answer, (2,)).tolist())
    told = {
        (1.0, 1.0): "these go with the *minus* of Eq. (4). A plus needs another lambda.",
        (-1.0, -1.0): "these are the printed ones. With the second of them lambda grows towards t = 0, and no sign of "
        "the integral mends that.",
        (1.0, -1.0): "the second sign belongs to the equation of lambda itself. It says that early moments count "
        "less, and it does not depend on the sign of the integral.",
    }
    if signs == (-1.0, 1.0):
        return yes("the equation of lambda is linear, so that -lambda solves it too, and turns the minus into a plus.")
    return no(told.get(signs, "each of the two is +1 or -1."))


EXERCISES = (
    Exercise(
        name="02.detach",
        question="Write Eq. (6): the gradient in theta at the end of a flow, z taken as a constant.",
        hints=(
            "`z = flow(theta)` has a graph that leads back to `theta`. Eq. (6) must not see it.",
            "`z.detach()` has the same value and no graph.",
            "`torch.autograd.grad(loss(z.detach(), theta), theta)` returns a tuple with one gradient.",
        ),
        judge=judge_detach,
        right=lambda loss, flow, theta: torch.autograd.grad(loss(flow(theta).detach(), theta), theta)[0],
        wrong={
            "the whole gradient": lambda loss, flow, theta: torch.autograd.grad(loss(flow(theta), theta), theta)[0],
            "the part that Eq. (6) drops": lambda loss, flow, theta: whole(theta) - partial(theta),
            "the wrong sign": lambda loss, flow, theta: -partial(theta),
            "returns a tuple": lambda loss, flow, theta: (partial(theta),),
            "neither the kept part": lambda loss, flow, theta: 2 * partial(theta),
        },
    ),
    Exercise(
        name="02.zero",
        question="Where is what Eq. (6) drops *not* zero?",
        hints=(
            "It is a product: the slope of l in z at the end, times how the end moves with theta.",
            "Which of the four ends has a slope of l, and moves with theta?",
        ),
        judge=of_choice(
            "c",
            "there the slope of l is not zero, only that of l plus the prior, and the minimiser moves with theta.",
            {
                "a": "at a minimiser of l the slope of l is zero, and with it the product.",
                "b": "the start is the same for every theta. It does not move, so that the product is zero.",
                "d": "how large the loss is does not matter: at any minimiser of l its slope is zero.",
            },
        ),
        right="c",
        wrong={"the slope of l is zero": "a", "It does not move": "b", "does not matter": "d"},
    ),
    Exercise(
        name="02.signs",
        question="With which signs of lambda(tau) and of its flow would a *plus* in Eq. (4) be right?",
        hints=(
            "The equation of lambda is linear. What does -lambda solve?",
            "If lambda solves it, so does -lambda, with the opposite end value and the same flow.",
        ),
        judge=judge_signs,
        right=(-1, +1),
        wrong={
            "*minus* of Eq. (4)": (1, 1),
            "the printed ones": (-1, -1),
            "early moments count": (1, -1),
            "+1 or -1": (2, 1),
        },
    ),
)
