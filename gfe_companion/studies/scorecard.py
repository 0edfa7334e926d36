"""Notebook 09: the scorecard, the printed numbers beside ours, and the errata of the paper."""

from __future__ import annotations

from urllib.parse import quote

import matplotlib.pyplot as plt
import pandas as pd
import torch

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence import claims
from gfe_companion.evidence.claims import WORDS, YES
from gfe_companion.evidence.intervals import Interval
from gfe_companion.evidence.paper import paper
from gfe_companion.evidence.scorecard import NEAR, THE_PAPER, agreement, caution
from gfe_companion.methods import METHODS
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies.drawing import WIDTH, spread
from gfe_companion.studies.results import Picture, Table, Text, markdown
from gfe_core.amd import AMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective

STEPS = 20  # of AMD, for the erratum on step sizes
OF_SIGNS = "3.1, Eq. (3)"  # the section of the erratum whose error table_02_signs measures
NOT_COMPARED = "No number that the paper prints is compared here."
STEEP = 3.0  # times the weights of an untrained decoder, so that steps are refused
DATASETS: tuple[str, ...] = tuple(dict.fromkeys(name for claim in paper()["claim"] for name in claim["data"]))


def needs(setting: Setting) -> list[RunConfig]:
    """No run: notebook 09 reads what the other notebooks wrote."""
    return []


def say_definition() -> Text:
    """What the words of a verdict mean: the text of :mod:`gfe_companion.evidence.claims`."""
    return Text(claims.definition())


def counted(verdicts: pd.Series) -> str:
    """How many there are of each verdict, in words."""
    counts = verdicts.value_counts()
    return ", ".join(f"{counts[word]} {word}" for word in WORDS if word in counts) or "none"


def table_scorecard(setting: Setting, judged: pd.DataFrame) -> Table:
    """The paper's claims and their verdicts; its data has the findings of our own too."""
    part = judged[judged.whose == THE_PAPER]
    shown = pd.DataFrame({
        "the paper claims": "\u201c" + part.text + "\u201d",
        "section": part.section,
        "verdict": "**" + part.verdict + "**",
        "measured": part.measured,
        "in other words": part.meaning,
    })  # fmt: skip
    title = f"The paper's {len(part)} claims: {counted(part.verdict)}"
    notes = f"{setting.profile.name} profile; 95 % intervals, over seeds unless the rule says otherwise."
    return Table("scorecard", judged, shown, title, notes)


def say_ours(judged: pd.DataFrame) -> Text:
    """The findings of our own and their verdicts."""
    part = judged[judged.whose != THE_PAPER]
    if part.empty:
        return Text("No finding of our own is judged yet.")
    shown = pd.DataFrame({
        "we find": part.text,
        "about": part.section,
        "verdict": "**" + part.verdict + "**",
        "measured": part.measured,
        "in other words": part.meaning,
    })  # fmt: skip
    return Text(f"**Findings of our own, not the paper's: {counted(part.verdict)}**\n\n{markdown(shown)}")


def say_rules(judged: pd.DataFrame) -> Text:
    """The rule of each claim and finding, under the short name that the page uses for it, and in its own words."""
    words = judged.text.where(judged.whose != THE_PAPER, "\u201c" + judged.text + "\u201d")
    names = "*" + judged.claim.str.replace("_", " ") + "*: " + words
    return Text(
        f"**The rule of each.**\n\n{markdown(pd.DataFrame({'short name and claim': names, 'rule': judged.rule}))}"
    )


def fig_numbers(setting: Setting, found: pd.DataFrame) -> Picture:
    """How far our mean lies from each printed number, with what its seeds span; the band is what counts as near."""
    found = found.sort_values(["table", "method"], kind="stable").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + 0.23 * max(len(found), 4)))
    heading = f"The paper's printed losses and ours, {setting.profile.name} profile"
    if found.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, NOT_COMPARED, ha="center", va="center", transform=axes.transAxes)
        figure.suptitle(heading, fontsize="medium")
        return Picture("fig_09_numbers", figure, NOT_COMPARED, found)
    for place, row in enumerate(found.itertuples()):
        look, half = METHODS[row.method].look, Interval(row.mean, row.high - row.mean, row.seeds).reach / row.printed
        axes.errorbar(row.deviation, place, xerr=half, color=look.color, marker=look.marker, capsize=2)
    axes.axvspan(-NEAR, NEAR, color="gray", alpha=0.2, linewidth=0)
    axes.axvline(0, color="gray", linewidth=0.8)
    labels = [f"{label(row.table, row.row)}: {METHODS[row.method].look.short}" for row in found.itertuples()]
    axes.set_yticks(range(len(found)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_xlabel("our mean, against the printed number")
    figure.suptitle(f"{heading}\n({spread(*found.seeds)})", fontsize="medium")
    alt = (
        f"Deviation of our losses from {len(found)} printed numbers of the paper ({spread(*found.seeds)}): "
        f"{counted(found.verdict)}."
    )
    return Picture("fig_09_numbers", figure, alt, found)


def label(table: str, row: str | int) -> str:
    """A row of "table1" or "table2" in words."""
    what = REGISTRY[str(row)].title if row in REGISTRY else f"{int(row):,} images"
    return f"Table {table[-1]}, {what}"


def say_numbers(setting: Setting, found: pd.DataFrame) -> Text:
    """The verdicts on the printed numbers, counted, and what limits them."""
    if found.empty:
        return Text(NOT_COMPARED)
    names = {row.row if row.row in REGISTRY else paper()[row.table]["data"] for row in found.itertuples()}
    said = [f"Of {len(found)} comparisons: {counted(found.verdict)}."]
    if (share := setting.profile.epoch_share) < 1 and "table2" in set(found.table):
        said.append(
            f"In this profile Table 2's networks have seen {share:.2%} of the images that the paper's have, so that "
            "beside the printed numbers their losses say nothing of the method."
        )
    return Text(" ".join(dict.fromkeys([*said, *filter(None, (caution(setting, name) for name in sorted(names)))])))


def table_errata(setting: Setting) -> Table:
    """What the paper prints wrongly or leaves open, how it is read here, and the heading that shows it."""
    errata = pd.DataFrame(paper()["erratum"])
    errata["shown"] = [f"{shown[:2]}: {heading}" for shown, heading in map(place, errata.shown)]
    signs = setting.figures / "table_02_signs.csv"
    if signs.exists():
        wrong = pd.read_csv(signs).drop(columns="decoder").median()
        errata.loc[errata.section == OF_SIGNS, "shown"] += (
            f" Error {wrong['as printed']:.2f} as printed, "
            f"{wrong['integral dropped, Eq. (6)']:.2f} with the integral dropped, {wrong['corrected']:.0e} corrected"
        )
    shown = errata.rename(columns={"right": "right, or how it is read here"})
    return Table("table_09_errata", errata, shown, "Errata of the paper", "Shown in the notebook of that number.")


def place(shown: str) -> tuple[str, str]:
    """The notebook and the heading of an erratum's ``shown``."""
    notebook, _, heading = shown.partition("#")
    return notebook, heading


def say_places() -> Text:
    """A link to where each erratum is shown."""
    links = []
    for erratum in paper()["erratum"]:
        notebook, heading = place(erratum["shown"])
        anchor = quote(heading.replace(" ", "-"), safe="?,:")
        links.append(f"[{erratum['section']}, in {notebook[:2]}]({notebook}#{anchor})")
    return Text(f"Where each is shown: {'; '.join(links)}.")


def say_own_steps() -> Text:
    """The erratum on step sizes: a few random images encoded by AMD at once, and each of them alone."""
    generator = torch.Generator().manual_seed(0)
    decoder, solver = Decoder(5, (16, 32), 64, generator).double(), AMD(max_steps=STEPS, tolerance=0.0)
    for weight in decoder.parameters():
        weight.data *= STEEP
    images = torch.rand(4, 64, generator=generator, dtype=torch.float64)
    together = solver.encode(Objective(decoder, images))
    alone = torch.cat([solver.encode(Objective(decoder, image[None])).z for image in images])
    apart = (together.z - alone).abs().max().item()
    return Text(
        f"A step size for each image: {STEPS} steps lead {len(images)} random images, under a small random decoder, "
        f"to times $t$ from {together.t.min():.0f} to {together.t.max():.0f}. "
        f"Encoded at once and one by one, they end at latents that differ by {apart:.0e} at most."
    )


def say_seen(judged: pd.DataFrame) -> Text:
    """The claims by verdict: those that are reproduced by name, every other one with what was measured and why."""
    papers, lines = judged[judged.whose == THE_PAPER], []
    for word in WORDS:
        part = papers[papers.verdict == word]
        names = part.claim.str.replace("_", " ")
        if word == YES and len(part):
            lines.append(f"- **{word}** ({len(part)}): {'; '.join(names)}.")
        elif len(part):
            lines.append(f"- **{word}** ({len(part)}):")
            whys = (". ".join(filter(None, pair)) for pair in zip(part.measured, part.meaning, strict=True))
            lines += [f"    - *{name}*: {why}" for name, why in zip(names, whys, strict=True)]
    return Text("\n".join(lines))


def say_answer(found: pd.DataFrame, near: float) -> Text:
    """The answer to the exercise: how many printed numbers are met if ``near`` is what counts as near."""
    if found.empty:
        return Text(NOT_COMPARED)
    ours = [Interval(row.mean, row.high - row.mean, row.seeds) for row in found.itertuples()]
    strict = [agreement(loss, number, near) for loss, number in zip(ours, found.printed, strict=True)]
    before, after = (list(words).count(YES) for words in (found.verdict, strict))
    return Text(
        f"Within {near:.0%}, **{after}** of {len(found)} are {YES}, instead of {before}: {counted(pd.Series(strict))}."
    )
