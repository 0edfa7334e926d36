"""Notebook 00: the loss of an untrained decoder, what an interval decides, and where a flow ends."""

from __future__ import annotations

import math

from gfe_companion.evidence.claims import NO, NOT_MEASURED, PARTLY, UNDECIDED, YES
from gfe_companion.lessons.exercise import Exercise, of_choice, of_number

LOG2 = math.log(2)

EXERCISES = (
    Exercise(
        name="00.untrained",
        question="What is the cross-entropy of an image of 784 black or white pixels under logits that are all zero?",
        hints=(
            "A logit of zero is a pixel of $1/2$: the sigmoid of zero.",
            "The cross-entropy of a pixel is minus the logarithm of the probability of what it is, black or white.",
            "The loss $l$ is the *mean* over the pixels, and the logarithm is the natural one.",
        ),
        judge=of_number(
            LOG2,
            "each pixel has the probability 1/2, and $-\\log \\frac12 = \\log 2$. Curves of training start there.",
            {
                784 * LOG2: "that is the sum over the pixels. The loss $l$ is their mean.",
                0.5: "that is the value of a pixel, the sigmoid of zero. The loss is minus the logarithm of it.",
                1.0: "that is in bits. The logarithm here is the natural one.",
                0.0: "a loss of zero needs a decoder that is certain, and right, of every pixel.",
            },
            "Take minus the logarithm of the probability of one pixel.",
            relative=5e-3,
        ),
        right=0.693,
        wrong={"the sum over the pixels": 784 * LOG2, "value of a pixel": 0.5, "in bits": 1, "certain": 0.0},
    ),
    Exercise(
        name="00.interval",
        question="The AE's loss minus GFE's is 0.010 ± 0.012. Which verdict has the claim that GFE's loss is lower?",
        hints=(
            "From where to where does the interval reach?",
            f"A claim is {YES} where the *whole* interval lies on its side of zero.",
        ),
        judge=of_choice(
            UNDECIDED,
            "the interval, from -0.002 to 0.022, allows both signs. More seeds would make it shorter.",
            {
                YES: "the mean lies on the claim's side, but the interval reaches across zero.",
                NO: "for that the whole interval would have to lie below zero.",
                PARTLY: "that is for claims of several parts, of which some hold. This one has one part.",
                NOT_MEASURED: "it was measured: there is an interval.",
            },
        ),
        right=UNDECIDED,
        wrong={
            "reaches across zero": YES,
            "whole interval would have to": NO.capitalize(),
            "several parts": PARTLY,
            "choose one of": "maybe",
        },
    ),
    Exercise(
        name="00.ended",
        question="An encoding ended because its budget was spent, where the gradient is not zero: at z_tau, or at z*?",
        hints=(
            "One of the two is a minimiser.",
            "What is the gradient of the loss at a minimiser?",
        ),
        judge=of_choice(
            "z_tau",
            "$z_\\tau$ is where the flow was stopped. At the minimiser $z^*$ the gradient would be zero.",
            {
                "z*": "at a minimiser $z^*$ the gradient is zero.",
                "z(0)": "that is where it started.",
                "both": "they are the same only where the gradient is zero.",
            },
        ),
        right="z_tau",
        wrong={"the gradient is zero": "z*", "where it started": "z(0)", "the same only": "both"},
    ),
)
