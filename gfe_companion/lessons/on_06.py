"""Notebook 06: what an encoder misses of the optimum, and which network fails on digits that neither has seen."""

from __future__ import annotations

from gfe_companion.lessons.exercise import Exercise, of_choice, of_number

OWN, OPTIMUM = 0.100, 0.096

EXERCISES = (
    Exercise(
        name="06.missed",
        question="By its own encoding a decoder has the test loss 0.100, and at the optimum 0.096. Which share of its "
        "own loss does the optimum take off?",
        hints=(
            "What is taken off is a difference. A share of what?",
            "Divide the difference by the loss of the own encoding.",
        ),
        judge=of_number(
            1 - OPTIMUM / OWN,
            "four parts of a hundred were the encoding's, and the rest is the decoder's.",
            {
                100 * (1 - OPTIMUM / OWN): "this is in percent. Write it as a share of 1.",
                OWN / OPTIMUM - 1: "this is a share of the loss at the optimum. Divide by the own loss.",
                OWN - OPTIMUM: "this is the difference itself. Divide by the own loss.",
                OPTIMUM / OWN: "this is what is left. How much is gone?",
            },
            "Which part of 0.100 is gone?",
        ),
        right=0.04,
        wrong={
            "in percent": 4,
            "share of the loss at the optimum": 0.1 / 0.096 - 1,
            "difference itself": 0.004,
            "what is left": 0.96,
        },
    ),
    Exercise(
        name="06.unseen",
        question="On digits that neither network has seen the AE's loss is high, and much lower when its decoder is "
        "encoded by optimisation. What fails on such digits?",
        hints=("What do both numbers have in common?", "The decoder is the same. What else takes part in the first?"),
        judge=of_choice(
            "a",
            "the decoder can draw these digits better than its encoder asks it to.",
            {
                "b": "it is the same decoder in both, and it draws the digits well from better latents.",
                "c": "both are measured on the same images.",
                "d": "no weight changes between the two: only the latents differ.",
            },
        ),
        right="a",
        wrong={"same decoder": "b", "same images": "c", "only the latents differ": "d"},
    ),
)
