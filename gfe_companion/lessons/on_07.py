"""Notebook 07: how a map of the classes is measured, what it must be compared with, and what t-SNE does not show."""

from __future__ import annotations

import torch
from torch import Tensor

from gfe_companion.lessons.exercise import Exercise, Finding, called, near, no, number, of_choice, yes

# On a line: the nearest other point of the first three has their label, that of the last two has not.
POINTS = torch.tensor([[0.0], [1.0], [2.5], [7.0], [7.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 0, 1])
SHARE = 3 / 5


def nearest_of(z: Tensor, labels: Tensor, itself: float = float("inf"), largest: bool = False) -> float:
    """The share of points whose nearest point has their label; ``itself`` is the distance of a point to itself."""
    distances = torch.cdist(z, z).fill_diagonal_(itself)
    found = distances.argmax(dim=1) if largest else distances.argmin(dim=1)
    return float((labels[found] == labels).double().mean())


def judge_nearest(answer: object) -> Finding:
    """The share of points whose nearest other point has their label, tried on five points of a line."""
    share = number(called(answer, POINTS, LABELS))
    if near(share, SHARE):
        return yes("each point is judged by others alone, as an image that the network has to name.")
    told = {
        1.0: "every point is its own nearest one. Leave it out, for example by an infinite distance to itself.",
        100 * SHARE: "this is the share in percent. Return a number from 0 to 1.",
        SHARE * len(LABELS): "this is the number of points. Divide by how many there are.",
        1 - SHARE: "this is the share that is named wrong.",
        nearest_of(POINTS, LABELS, 0.0, largest=True): "this looks at the farthest point instead of the nearest one.",
    }
    for wrong, why in told.items():
        if near(share, wrong):
            return no(why)
    points, labels = POINTS.flatten().tolist(), LABELS.tolist()
    return no(
        f"for the points {points} with the labels {labels} it gives {share:g}. Find the nearest other point of "
        "each by hand, and count those that have its label."
    )


EXERCISES = (
    Exercise(
        name="07.nearest",
        question="Write the simplest measure: the share of points whose nearest other point has the same label.",
        hints=(
            "`torch.cdist(z, z)` has the distances of all pairs. What stands on its diagonal?",
            "Put infinity on the diagonal with `fill_diagonal_`, and take `argmin(dim=1)`.",
            "Compare `labels[nearest]` with `labels`, and take the mean of the result as numbers.",
        ),
        judge=judge_nearest,
        right=nearest_of,
        wrong={
            "its own nearest one": lambda z, labels: nearest_of(z, labels, itself=0.0),
            "in percent": lambda z, labels: 100 * nearest_of(z, labels),
            "the number of points": lambda z, labels: len(z) * nearest_of(z, labels),
            "named wrong": lambda z, labels: 1 - nearest_of(z, labels),
            "the farthest point": lambda z, labels: nearest_of(z, labels, itself=0.0, largest=True),
            "by hand": lambda z, labels: 0.123,
        },
    ),
    Exercise(
        name="07.compare",
        question="With what must latents be compared to say whether *training* has brought their structure about?",
        hints=(
            "What changes by training, and what is there without it?",
            "A random map of the pixels keeps near images near.",
        ),
        judge=of_choice(
            "b",
            "only there is training the one thing that differs.",
            {
                "a": "any map that keeps near images near beats guessing, a random one too.",
                "c": "another method differs in more than training. It may be better, and both may be worse than none.",
                "d": "a perfect score shows what is left to gain, and not what training has brought.",
            },
        ),
        right="b",
        wrong={"beats guessing": "a", "differs in more": "c", "what is left to gain": "d"},
    ),
    Exercise(
        name="07.map",
        question="What may be read from a t-SNE map?",
        hints=(
            "What does t-SNE try to keep, and what does it give up for that?",
            "Trustworthiness measures the one thing that it keeps.",
        ),
        judge=of_choice(
            "c",
            "that is what t-SNE tries to keep, and what trustworthiness measures.",
            {
                "a": "distances between clusters mean little: t-SNE keeps near points near, and gives up far ones.",
                "b": "t-SNE evens out densities, so that the size of a cluster says little of how its latents vary.",
                "d": "a map may be turned and mirrored; its axes have no meaning.",
            },
        ),
        right="c",
        wrong={"distances between clusters": "a", "evens out densities": "b", "turned and mirrored": "d"},
    ),
)
