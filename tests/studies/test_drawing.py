"""What several figures draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.methods import Look
from gfe_companion.studies.drawing import draw_mean, plain, plain_ticks, spread, style, wrapped

TITLE = "A data set with a name that nobody would want to write above a panel, 1,234,567 images"


@pytest.mark.parametrize("title", [TITLE, "W" * 60], ids=["words", "one long word"])
@pytest.mark.parametrize(("inches", "size"), [(1.5, 8), (3.0, 8), (3.0, "medium")])
def test_a_wrapped_title_is_as_wide_as_allowed_and_no_wider(title, inches, size):
    style()
    figure = plt.figure()
    lines = wrapped(title, inches, size).split("\n")
    widths = [figure.text(0, 0, line, fontsize=size).get_window_extent().width / figure.dpi for line in lines]
    plt.close(figure)
    assert max(widths) <= 1.02 * inches  # the renderer rounds glyphs to pixels
    assert max(widths) > 0.7 * inches
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")


@pytest.mark.parametrize("title", ["MNIST", ""])
def test_a_title_that_fits_stays_as_it_is(title):
    assert wrapped(title) == title


@pytest.mark.parametrize("held", ["(5,300 to 6,200)", "95 %"])
@pytest.mark.parametrize("before", range(3))
def test_no_line_breaks_within_an_interval_or_a_percentage(held, before):
    title = "one " * before + f"two {held} three four five {held} six"
    for inches in (1.4, 1.6, 1.8):
        lines = wrapped(title, inches, 8).split("\n")
        assert len(lines) > 1 and " ".join(lines) == title
        assert sum(line.count(held) for line in lines) == 2, lines


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"), (1, "1"), (0.003, "0.003"), (30_000, "30,000"), (1e7, "$10^{7}$"), (3e-8, "$3 \\times 10^{-8}$"),
        (100, "100"), (-0.5, "-0.5"),
    ],
)  # fmt: skip
def test_ticks_say_plain_numbers(value, said):
    assert plain(value) == said


@pytest.mark.parametrize(("low", "high", "some"), [(0.001, 1e4, "10"), (20, 400, "30"), (0.12, 0.9, "0.5")])
def test_a_logarithmic_axis_has_ticks_however_little_it_spans(low, high, some):
    figure, axes = plt.subplots()
    axes.plot([1, 2], [low, high])
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    figure.draw_without_rendering()
    said = [label.get_text() for label in axes.get_yticklabels()]
    plt.close(figure)
    assert some in said and not any("e" in each for each in said)


def drawn(*losses):
    """The lines and the heights of the shade of a curve with two points, of so many seeds each."""
    figure, axes = plt.subplots()
    frame = pd.DataFrame([(x, loss + x) for x in (1.0, 2.0) for loss in losses], columns=["x", "loss"])
    draw_mean(axes, over_seeds(frame.assign(point=frame.x), ["point"], "loss", "x"), Look("a", "b"))
    plt.close(figure)
    shades = [path.vertices[:, 1] for shade in axes.collections for path in shade.get_paths()]
    return [line.get_ydata() for line in axes.lines], np.concatenate(shades) if shades else np.array([])


def test_two_seeds_are_drawn_as_lines_and_no_interval_of_one_degree_of_freedom():
    lines, shade = drawn(0.1, 0.4)
    assert not len(shade)
    assert [line[0] for line in lines] == pytest.approx([1.25, 1.1, 1.4])
    assert [line[1] for line in lines] == pytest.approx([2.25, 2.1, 2.4])


def test_three_seeds_are_shaded_as_far_as_their_interval_reaches():
    losses = [0.1, 0.2, 0.6]
    lines, shade = drawn(*losses)
    assert (min(shade), max(shade)) == (
        pytest.approx(1 + interval(losses).low), pytest.approx(2 + interval(losses).high),
    )  # fmt: skip
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([1, 1], "one seed"), ([], "one seed"), ([2, 2], "mean and range; 2 seeds"),
        ([1, 2], "mean and range; 1 to 2 seeds"), ([5, 3], "mean and 95 % interval; 3 to 5 seeds"),
        ([2, 5], "mean and 95 % interval, of two seeds their range; 2 to 5 seeds"),
    ],
)  # fmt: skip
def test_a_title_says_what_is_drawn_of_the_seeds(seeds, said):
    assert spread(*seeds) == said
