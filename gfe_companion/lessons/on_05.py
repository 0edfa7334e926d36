"""Notebook 05: images seen and images available, and which of two networks overfits."""

from __future__ import annotations

from gfe_companion.lessons.exercise import Exercise, of_choice, of_number

SEEN, POOL = 480, 50_000
DIFFERENT = POOL * (1 - (1 - 1 / POOL) ** SEEN)

EXERCISES = (
    Exercise(
        name="05.different",
        question="A training draws 480 images with replacement from 50,000. How many different ones has it seen, on "
        "average? Three digits are enough.",
        hints=(
            "What is the probability that one given image is never drawn?",
            "It is missed by one draw with the probability $1 - 1/50{,}000$, and by all 480 with that to the power of "
            "480. How many of the 50,000 are not missed?",
        ),
        judge=of_number(
            DIFFERENT,
            "nearly all of them are different: so images seen say nothing of somebody who has only 480.",
            {
                SEEN: "some images are drawn twice. It is a little less.",
                POOL - DIFFERENT: "so many are never drawn. The others are asked for.",
                SEEN / POOL: "this is a share. How many images are that?",
            },
            "Count the images that are not missed by all draws.",
        ),
        right=477.7,
        wrong={"drawn twice": 480, "never drawn": 49_522.3, "this is a share": 0.0096},
    ),
    Exercise(
        name="05.overfits",
        question="From some point on the loss of held-out images rises under the AE's own encoder, and goes on falling "
        "when the same decoder is encoded at the optimum. Which of its networks overfits?",
        hints=(
            "Which of the two networks takes part in both measurements?",
            "What changes from one to the other is where the latents come from.",
        ),
        judge=of_choice(
            "encoder",
            "the decoder is the same in both, and it still gets better on images that it has not seen.",
            {
                "decoder": "then the loss at the optimum would rise too: it needs nothing but the decoder.",
                "both": "the decoder's loss at the optimum still falls. Only one of them does.",
                "neither": "under its own encoder the held-out loss rises while that of the training images falls.",
            },
        ),
        right="encoder",
        wrong={"at the optimum would rise too": "decoder", "Only one": "both", "held-out loss rises": "neither"},
    ),
)
