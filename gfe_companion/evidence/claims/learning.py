"""The rules of the claims on learning (Sec. 5, Tables 1 and 2, Figures 4 to 7): notebooks 05 to 07.

One function for each claim of ``paper.toml``, its docstring the rule. Each reads the CSV files behind the figures, so
that anyone can judge again from what is published.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.claims import BATCH, UNDECIDED, Finding, Read, Unmeasured, all_of, having, holds, paired
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.paper import paper, paper_table

AMD = "gfe_amd_uncapped"
FAR = 0.2  # relative; "far superior"
MUCH = 2  # times; "substantially superior"


def _best(frame: pd.DataFrame) -> str:
    """GFE-amd as the paper has it where that was run, else uncapped."""
    return "gfe_amd" if "gfe_amd" in set(frame.method) else AMD


def beside_ae(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows of ``method``, each with ``ae_loss``: the AE's on the same test images, by the same seed.

    Raises :class:`Unmeasured` where there is none.
    """
    found = having(frame, "ae_loss")[frame.method == method].dropna(subset=["test_loss", "ae_loss"])
    if found.empty:
        raise Unmeasured(f"The profile did not run ae and {method} side by side.")
    return found


def ratios_to_ae(ours: pd.DataFrame) -> dict[str, Interval]:
    """The test losses of a method over the AE's, over seeds, by data set; ``ours``: rows as of :func:`beside_ae`."""
    return {str(name): interval(part.test_loss / part.ae_loss) for name, part in ours.groupby("dataset", sort=False)}


def of_trained(verdict: str, rows: pd.DataFrame) -> str:
    """``verdict`` on trained networks, undecided where those of ``rows`` saw less than an epoch of some data set."""
    seen = having(rows, "images").groupby("dataset").images.max()
    early = any(images // BATCH < REGISTRY[str(name)].epoch // BATCH for name, images in seen.items())
    return UNDECIDED if early else verdict


def few_images(read: Read) -> Finding:
    """In each row of Table 1 the test loss of the AE minus that of GFE-amd, on the same test images and paired by seed,
    is above zero; far superior means that GFE's is more than a fifth lower, as in each row of the paper's own table.
    """
    frame = read("table1")
    best = _best(frame)
    rows = dict(list(beside_ae(frame, best).groupby("images")))
    gaps = {images: interval(part.ae_loss - part.test_loss) for images, part in rows.items()}
    lower = {images: interval(1 - part.test_loss / part.ae_loss) for images, part in rows.items()}
    factors = [part.ae_loss.mean() / part.test_loss.mean() for part in rows.values()]
    kind = "literal AMD" if best == "gfe_amd" else "uncapped AMD"
    return Finding(
        all_of(holds(share, limit) for share in lower.values() for limit in (0, FAR)),
        "; ".join(f"{images:,}: AE − GFE = {gap}, {lower[images]:.1%} of the AE's" for images, gap in gaps.items()),
        f"By {kind}, the AE's test loss is {min(factors):.2f} to {max(factors):.2f} times GFE's; "
        f"far: more than {FAR:.0%} of the AE's.",
    )


def improves_ae(read: Read) -> Finding:
    """In each row of Table 1, AMD's gain on the AE's decoder, on the same images, is above zero over seeds."""
    rows = {images: interval(part.gain) for images, part in read("table_05_gain").groupby("images")}
    return Finding(
        all_of(holds(row) for row in rows.values()),
        "; ".join(f"{images:,}: {row}" for images, row in rows.items()),
        "The AE's loss by its own encoder minus that of the same decoder by AMD.",
    )


def to_equal_loss(frame: pd.DataFrame, column: str, best: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What ``best`` spent of ``column`` up to Table 1's last row, and the AE until its validation loss came to that.

    Both frames have a row a seed and the columns gfe and ae; the second counts for an image, and the first leaves out
    the seeds whose AE was not followed to that loss. Raises :class:`Unmeasured` where no seed has both.
    """
    spent, each = {}, {}
    for seed, part in frame.groupby("seed"):
        ae, gfe = (part[part.method == method].sort_values("images") for method in ("ae", best))
        gfe = gfe[gfe.images <= max(paper()["table1"]["images"])]
        if ae.empty or gfe.empty:
            continue
        end, falls = gfe.iloc[-1], ae.validation_loss.cummin()
        each[seed] = {name: (run[column] / run.images).iloc[-1] for name, run in (("gfe", gfe), ("ae", ae))}
        if falls.iloc[-1] <= end.validation_loss:
            spent[seed] = {"gfe": end[column], "ae": np.interp(-end.validation_loss, -falls, ae[column])}
    if not each:
        raise Unmeasured("The profile did not train both for one seed.")
    return tuple(pd.DataFrame(rows.values(), columns=["gfe", "ae"]) for rows in (spent, each))


def superior_per_training_image(read: Read) -> Finding:
    """The AE needs more training images than GFE-amd for the validation loss that GFE-amd has at Table 1's last row:
    the ratio is above one; substantially means above two. Undecided where no AE was followed that far.
    """
    frame = read("fig4_left")
    spent, _ = to_equal_loss(frame, "images", _best(frame))
    if spent.empty:
        return Finding(UNDECIDED, "", "The AE was not followed far enough to reach GFE's loss.")
    ratio = interval(spent.ae / spent.gfe)
    return Finding(
        all_of(holds(ratio, limit) for limit in (1, MUCH)),
        f"training images to equal loss, AE / GFE: {ratio:.1f}",
        f"GFE had seen {spent.gfe.max():,}.",
    )


def costs_more_time(read: Read) -> Finding:
    """A GFE-amd iteration takes more seconds than the AE's; and the AE needs less compute time for the validation loss
    that GFE-amd has at Table 1's last row. Both ratios are above one. The second is undecided where no AE was followed
    that far.
    """
    frame = read("fig4_right")
    spent, each = to_equal_loss(frame, "seconds", _best(frame))
    cost = interval(each.gfe / each.ae)
    said = f"seconds an iteration, GFE / AE: {cost:.0f}"
    if spent.empty:
        sentence = "The AE was not followed far enough to reach GFE's loss."
        return Finding(all_of([holds(cost, 1), UNDECIDED]), said, sentence)
    ratio = interval(spent.gfe / spent.ae)
    return Finding(
        all_of([holds(cost, 1), holds(ratio, 1)]),
        f"{said}; seconds to equal loss: {ratio:.1f}",
        "Each training on one thread; the clock counts the training alone.",
    )


def _as_similar_as_printed(read: Read) -> tuple[str, str]:
    """The verdict on the ratios GFE-amd / AE of Table 2 being as near to one as the paper's own; and the ratios."""
    printed = paper_table("table2")
    far = float((printed.gfe_amd / printed.ae - 1).abs().max())
    ours = beside_ae(read("table2"), AMD)
    rows = ratios_to_ae(ours)
    said = "; ".join(f"{REGISTRY[name].title} {row:.3f}" for name, row in rows.items())
    verdict = all_of(holds(row, 1 - far, 1 + far) for row in rows.values())
    return of_trained(verdict, ours), f"GFE / AE (1 ± {far:.3f}): {said}"


def parity_when_converged(read: Read) -> Finding:
    """On each of the three data sets the ratio of test losses GFE-amd / AE, on the same test images and paired by seed,
    is as near to one as the farthest of the paper's own three is; GFE-amd has had one epoch, the AE twelve. Undecided
    where it had less.
    """
    return Finding(*_as_similar_as_printed(read), "One twelfth of the AE's images, by uncapped AMD.")


def segmented_advantage(read: Read) -> Finding:
    """On SegmentedMNIST the test loss of the AE minus that of GFE-amd, on the same test images and paired by seed, is
    above zero. Undecided where GFE-amd had less than an epoch.
    """
    ours, encoded = (beside_ae(read("table2"), method) for method in (AMD, "ae_then_amd"))
    gap, encoder = (interval(part.ae_loss - part.test_loss) for part in (ours, encoded))
    return Finding(
        of_trained(holds(gap), ours),
        f"AE − GFE = {gap}",
        f"On digits that no network saw, AMD on the AE's own decoder gains {encoder}.",
    )


def superior_reconstructions_from_few(read: Read) -> Finding:
    """Not over seeds, but over the images of the figure, which shows one seed as the paper's does: on both data sets
    the loss of the AE's reconstruction minus that of GFE-amd's, paired by image, is above zero.
    """
    wide = paired(read("fig5_a"), ["dataset", "test_image"], "loss", ["ae", AMD])
    rows = {name: interval(part.ae - part[AMD]) for name, part in wide.groupby("dataset")}
    return Finding(
        all_of(holds(row) for row in rows.values()),
        "; ".join(f"{REGISTRY[name].title}: AE − GFE = {row}" for name, row in rows.items()),
        "Intervals over the images that are drawn, by uncapped AMD.",
    )


def similar_reconstructions_when_trained(read: Read) -> Finding:
    """On MNIST and on FashionMNIST the ratio of test losses GFE-amd / AE, paired by seed, over all test images and not
    only those drawn, is as near to one as the farthest of the paper's own ratios in Table 2 is. Undecided where GFE-amd
    had less than an epoch.
    """
    return Finding(*_as_similar_as_printed(read), "Over the test images of Table 2, of which the figure draws ten.")


def neighbours(latents: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of ten nearest neighbours, by the rows of table_07_latents: a row a seed, columns as ("full", "ae").

    Raises :class:`Unmeasured` where one of the four is missing.
    """
    wide = latents.pivot(index="seed", columns=["data", "method"], values="neighbours")
    needed = [(data, method) for data in ("full", "few") for method in ("ae", AMD)]
    if missing := [name for name in needed if name not in wide]:
        raise Unmeasured(f"The profile did not run {missing[0]}.")
    return wide[needed].dropna()


def _of_trained_latents(verdict: str, read: Read) -> str:
    maps = read("table_07_latents").query("data == 'full' and method == @AMD")
    return of_trained(verdict, maps.assign(dataset="mnist"))


def similar_latents_when_trained(read: Read) -> Finding:
    """Accuracies of ten nearest neighbours in latent space, GFE minus AE, paired by seed, differ by less than 0.05.
    Undecided where GFE-amd had less than an epoch.
    """
    wide = neighbours(read("table_07_latents"))
    gap = interval(wide["full", AMD] - wide["full", "ae"])
    verdict = _of_trained_latents(holds(gap, -0.05, 0.05), read)
    return Finding(verdict, f"GFE − AE = {gap}", "Accuracy of ten neighbours, both trained.")


def gfe_latents_keep_structure(read: Read) -> Finding:
    """GFE's accuracies of ten nearest neighbours, trained minus at 1 % of the data, paired by seed, differ by less than
    0.05. Undecided where the trained one had less than an epoch.
    """
    wide = neighbours(read("table_07_latents"))
    gap = interval(wide["full", AMD] - wide["few", AMD])
    verdict = _of_trained_latents(holds(gap, -0.05, 0.05), read)
    return Finding(verdict, f"trained − 1 % = {gap}", "Accuracy of ten neighbours of GFE's latents.")


def ae_latents_do_not_cluster(read: Read) -> Finding:
    """At 1 % of the data the AE's ten nearest neighbours name fewer images right than GFE's, paired by seed; and not
    clustering means fewer than half.
    """
    wide = neighbours(read("table_07_latents"))
    gap, right = interval(wide["few", AMD] - wide["few", "ae"]), interval(wide["few", "ae"])
    wrong = Interval(0.5 - right.mean, right.half, right.count)
    return Finding(
        all_of([holds(gap), holds(wrong)]),
        f"GFE − AE at 1 % = {gap}; the AE names {right:.0%} right",
        "Where fewer than half are named right, most images lie among those of other classes.",
    )
