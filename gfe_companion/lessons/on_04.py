"""Notebook 04: which flow is stiff, how many steps a stiff one takes, and what a sufficient decrease is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfe_companion.lessons.exercise import Exercise, Finding, Unread, called, no, of_choice, of_number, yes

FLAT, STEEP, LEFT = 1.0, 1000.0, 0.01  # curvatures of the bowl, and what is to be left in its flat direction
LONGEST = 2 / STEEP

C, BEFORE = 0.1, 10.0
GRADIENT = torch.tensor([3.0, -4.0], dtype=torch.float64)
TRIED = ((9.9, 0.1), (9.7, 0.1), (9.97, 0.1), (10.1, 0.1), (6.0, 2.0))  # (loss after the step, dt)


def steps_to(left: float, h_flat: float) -> float:
    """How many steps of Euler's method bring a direction with h mu = ``h_flat`` down to the share ``left``."""
    return math.log(left) / math.log(1 - h_flat)


def enough(before: float, after: float, dt: float, gradient: Tensor, c: float) -> bool:
    """Armijo's rule, the right answer to "04.enough"."""
    return bool(after <= before - c * dt * gradient.square().sum())


def judge_enough(answer: object) -> Finding:
    """A sufficient decrease, tried on steps that fall far enough, too little, and not at all."""
    found = []
    for after, dt in TRIED:
        said = called(answer, BEFORE, after, dt, GRADIENT, C)
        if not isinstance(said, bool | Tensor) or (isinstance(said, Tensor) and said.numel() != 1):
            raise Unread(f"it should return True or False, and returns a {type(said).__name__}.")
        found.append(bool(said))
    size = GRADIENT.norm().item()
    told = {
        "this is Eq. (9): a fall, however small, is enough for it.": [after < BEFORE for after, _ in TRIED],
        "what is asked for does not depend on the length of the step: multiply it by `dt`.": [
            after <= BEFORE - C * size**2 for after, _ in TRIED
        ],
        "the *square* of the gradient's norm is needed: over a short step the loss falls by nearly dt times that.": [
            after <= BEFORE - C * dt * size for after, dt in TRIED
        ],
        "this lets the loss rise. The bound lies *below* the loss before the step.": [
            after <= BEFORE + C * dt * size**2 for after, dt in TRIED
        ],
        "it is the other way round: these are the steps to be refused.": [
            after > BEFORE - C * dt * size**2 for after, dt in TRIED
        ],
        "without `c` the whole decrease that the slope promises is asked for, which no step on a bowl reaches.": [
            after <= BEFORE - dt * size**2 for after, dt in TRIED
        ],
    }
    right = [enough(BEFORE, after, dt, GRADIENT, C) for after, dt in TRIED]
    if found == right:
        return yes("this is Armijo's rule. Steps that leap across the valley and gain next to nothing are refused.")
    for said, wrong in told.items():
        if found == wrong:
            return no(said)
    after, dt = next(tried for tried, one, other in zip(TRIED, found, right, strict=True) if one != other)
    return no(
        f"for a loss of {BEFORE:g} before and {after:g} after a step of {dt:g}, with a gradient of norm {size:g} and "
        f"c = {C:g}, it gives {not enough(BEFORE, after, dt, GRADIENT, C)}, and should give the opposite."
    )


EXERCISES = (
    Exercise(
        name="04.stiff",
        question="Which of four flows on bowls is stiff?",
        hints=(
            "Stiff means: stability limits the step, and accuracy would allow a longer one.",
            "So something steep must be over, while something flat is still under way.",
        ),
        judge=of_choice(
            "b",
            "the steep direction is at rest from about $t = 10^{-3}$ on. Only the flat one moves, which steps of about "
            "1 would follow, and still no step may be longer than $2 \\cdot 10^{-4}$.",
            {
                "a": "at so early a time the steep direction is still on its way, so that accuracy asks for steps as "
                "short as that anyway.",
                "c": "a large curvature alone does not make a flow stiff: all of it is over at the same time, and it "
                "takes few steps to get there.",
                "d": "a small curvature allows long steps: the flow takes a long time, but not many steps.",
            },
        ),
        right="b",
        wrong={
            "still on its way": "a",
            "a large curvature alone": "c",
            "allows long steps": "D",
            "choose one of": "e",
        },
    ),
    Exercise(
        name="04.steps",
        question="How many equal steps of Euler's method does a bowl with curvatures 1 and 1,000 take at least, until "
        "a hundredth of the distance is left in the flat direction?",
        hints=(
            "The steep direction says how long a step may be.",
            "A step of $h = 2/1000$ leaves $1 - h$ of the distance in the flat direction. How often, until 0.01 is "
            "left?",
            "Solve $(1 - 0.002)^n = 0.01$ for $n$ by logarithms.",
        ),
        judge=of_number(
            steps_to(LEFT, LONGEST * FLAT),
            "each step takes only 0.2 % of the flat distance. The number grows with the ratio of the two curvatures.",
            {
                steps_to(LEFT, FLAT / STEEP): "this is with steps of $1/\\mu$, the best ones for the steep direction. "
                "Steps up to twice as long are stable.",
                math.log(1 / LEFT): "this is the time that the flow takes. How many steps of the longest stable length "
                "is that?",
                STEEP / FLAT / 2: "after so many steps of $2/\\mu$ a share of $1/e$ is left, and not yet a hundredth.",
                1.0: "a step of $2/1$ suits the flat direction, but the steep one would leave at once.",
            },
            "How long may a step be, and which share of the flat distance does it leave?",
            relative=0.02,
        ),
        right=2301,
        wrong={
            "with steps of $1/": 4603,
            "the time that the flow takes": 4.605,
            "a share of $1/e$": 500,
            "would leave at once": 1,
            "too small": 1000,
        },
    ),
    Exercise(
        name="04.enough",
        question="Write a test that asks for a sufficient decrease, at least c dt |grad l|^2.",
        hints=(
            "Over a short step the loss falls by nearly $\\delta t\\, |\\nabla_z l|^2$. The share $c$ of that is asked "
            "for.",
            "Compare `after` with `before - c * dt * ...`.",
        ),
        judge=judge_enough,
        right=enough,
        wrong={
            "this is Eq. (9)": lambda before, after, dt, gradient, c: after < before,
            "multiply it by `dt`": lambda before, after, dt, gradient, c: after <= before - c * gradient @ gradient,
            "the *square*": lambda before, after, dt, gradient, c: after <= before - c * dt * gradient.norm(),
            "lets the loss rise": lambda before, after, dt, gradient, c: after <= before + c * dt * gradient @ gradient,
            "the other way round": lambda *given: not enough(*given),
            "without `c`": lambda before, after, dt, gradient, c: after <= before - dt * gradient @ gradient,
            "True or False": lambda before, after, dt, gradient, c: before - after,
            "it gives True": lambda before, after, dt, gradient, c: after < 9.8,
        },
    ),
)
