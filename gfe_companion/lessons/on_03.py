"""Notebook 03: the friction of momentum, when it is critical, and how a flow with friction starts."""

from __future__ import annotations

import math
from collections.abc import Callable

from gfe_companion.lessons.exercise import Exercise, Finding, called, near, no, number, of_number, yes

KEPT, STEP = 0.9, 0.01  # momentum and step of the first exercise
CURVATURES = (4.0, 0.25)
FRICTIONS = (3.0, 1.0)


def of_function(
    right: Callable[[float], float], tried: tuple[float, ...], said: str, mistakes: dict[str, Callable[[float], float]]
) -> Callable[[object], Finding]:
    """The judge of a function of one number, which is compared with others where it is ``tried``."""

    def judge(answer: object) -> Finding:
        values = [number(called(answer, x)) for x in tried]
        if all(near(value, right(x)) for value, x in zip(values, tried, strict=True)):
            return yes(said)
        for why, wrong in mistakes.items():
            if all(near(value, wrong(x)) for value, x in zip(values, tried, strict=True)):
                return no(why)
        return no(f"at {tried[0]:g} it gives {values[0]:g}; {_side(values[0], right(tried[0]))}.")

    return judge


def _side(value: float, right: float) -> str:
    if near(value, right):
        return "that is right there, but not everywhere"
    return f"that is too {'large' if value > right else 'small'}"


EXERCISES = (
    Exercise(
        name="03.friction",
        question="Momentum 0.9 with the step s = 0.01: which friction has the flow that it follows?",
        hints=(
            "One step takes the time $\\sqrt s$. What is lost of the velocity in that time?",
            "$0.9$ is kept, so $1 - 0.9$ is lost in a time of $\\sqrt{0.01}$.",
        ),
        judge=of_number(
            (1 - KEPT) / math.sqrt(STEP),
            "a tenth of the velocity is lost in a tenth of a unit of time.",
            {
                1 - KEPT: "this is lost in one step. Friction is what is lost in a unit of time: divide by the time of "
                "a step.",
                (1 - KEPT) / STEP: "a step takes the time $\\sqrt s$, and not $s$.",
                KEPT: "this is what is kept. Friction is what is lost.",
                KEPT / math.sqrt(STEP): "this is what is kept. Friction is what is lost.",
            },
            "Which share is lost in one step, and how long does a step take?",
        ),
        right=1.0,
        wrong={
            "lost in one step": 0.1,
            "and not $s$": 10,
            "what is kept": 0.9,
            "what is lost": 9.0,
            "too large": 3,
        },
    ),
    Exercise(
        name="03.critical",
        question="At which time does the friction 3/t become too small to keep a bowl of curvature mu from swinging?",
        hints=(
            "A constant friction $r$ keeps it from swinging while $r \\geq 2\\sqrt\\mu$.",
            "Solve $3/t = 2\\sqrt\\mu$ for $t$.",
        ),
        judge=of_function(
            lambda mu: 3 / (2 * math.sqrt(mu)),
            CURVATURES,
            "each curvature has its own time, the flat directions a late one. "
            "No constant friction does this for all of them.",
            {
                "the critical friction is $2\\sqrt\\mu$, with a two.": lambda mu: 3 / math.sqrt(mu),
                "the critical friction grows with the *root* of the curvature.": lambda mu: 3 / (2 * mu),
                "this is the critical friction, and not the time at which $3/t$ has fallen to it.": lambda mu: (
                    2 * math.sqrt(mu)
                ),
                "it is the other way round: the steeper the bowl, the earlier.": lambda mu: 2 * math.sqrt(mu) / 3,
            },
        ),
        right=lambda mu: 3 / (2 * math.sqrt(mu)),
        wrong={
            "with a two": lambda mu: 3 / math.sqrt(mu),
            "the *root* of the curvature": lambda mu: 1.5 / mu,
            "this is the critical friction": lambda mu: 2 * math.sqrt(mu),
            "the other way round": lambda mu: 2 * math.sqrt(mu) / 3,
            "too large": lambda mu: 100.0,
        },
    ),
    Exercise(
        name="03.start",
        question="With the friction a/t, a flow from rest begins as z = z(0) - q t^2 grad l: what is q?",
        hints=(
            "Put $z = z(0) - q\\, t^2\\, \\nabla l$ into $\\ddot z + \\frac{a}{t} \\dot z + \\nabla l = 0$; "
            "the gradient has not changed yet.",
            "$\\ddot z = -2q\\, \\nabla l$ and $\\frac{a}{t} \\dot z = -2aq\\, \\nabla l$.",
        ),
        judge=of_function(
            lambda a: 1 / (2 * (1 + a)),
            FRICTIONS,
            "2q + 2aq = 1. For a = 3 the velocity is a quarter of that without friction.",
            {
                "this is the factor of the velocity, $\\dot z = -2q\\, t\\, \\nabla l$.": lambda a: 1 / (1 + a),
                "this is the start without friction.": lambda a: 0.5,
                "the acceleration belongs into the equation too: $2q + 2aq = 1$.": lambda a: 1 / (2 * a),
                "the flow goes downhill: with the minus in front, q is positive.": lambda a: -1 / (2 * (1 + a)),
            },
        ),
        right=lambda a: 1 / (2 * (1 + a)),
        wrong={
            "the factor of the velocity": lambda a: 1 / (1 + a),
            "without friction": lambda a: 0.5,
            "the acceleration belongs": lambda a: 1 / (2 * a),
            "goes downhill": lambda a: -1 / (2 + 2 * a),
        },
    ),
)
