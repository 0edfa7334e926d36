"""A figure is saved whole, in three forms, and shown with words for those who cannot see it."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from IPython.display import Image, Markdown

from gfe_companion.runs.profiles import Setting
from gfe_companion.site import show
from gfe_companion.studies.drawing import style
from gfe_companion.studies.results import Picture, Table, Text


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(show, "display", lambda output, metadata=None: seen.append(output))
    return seen


@pytest.fixture
def setting(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    return Setting.of("smoke", "embedded", device="cpu")


def test_a_figure_becomes_png_pdf_and_csv(setting, shown):
    style()
    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    data = pd.DataFrame({"x": [1, 2], "y": [3 + 1e-17, 1 / 3]})
    show.save_picture(Picture("fig9", figure, "a line that rises", data), setting.figures)
    assert sorted(path.name for path in setting.figures.iterdir()) == ["fig9.csv", "fig9.pdf", "fig9.png"]
    assert (setting.figures / "fig9.png").read_bytes().startswith(b"\x89PNG")
    assert (setting.figures / "fig9.pdf").read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(setting.figures / "fig9.csv"), data)
    assert isinstance(shown[0], Image)
    assert shown[0].alt == "a line that rises"
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(("place", "cut"), [(0.5, False), (-0.02, True), (0.98, True)])
def test_what_sticks_out_of_a_figure_is_not_cut_off(setting, shown, place, cut):
    style()
    figure = plt.figure(figsize=(2, 2), layout="none")
    figure.text(place, 0.5, "words")
    show.save_picture(Picture("fig9", figure, "words"), setting.figures)
    pixels = np.asarray(PIL.Image.open(setting.figures / "fig9.png").convert("L"))
    assert (pixels.shape != (300, 300)) == cut
    assert (pixels < 128).any() and (pixels[:, [0, -1]] > 250).all()


def test_what_fails_to_be_drawn_leaves_the_old_file_whole(setting, shown, monkeypatch):
    data = pd.DataFrame({"a": [1]})
    show.save_table(Table("table9", data, data, "Nine", "notes"), setting.figures)
    before = (setting.figures / "table9.csv").read_text()

    def half(self, path, **_):
        path.write_text("a\n")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(OSError, match="disk full"):
        show.save_table(Table("table9", data, data, "Nine", "notes"), setting.figures)
    assert (setting.figures / "table9.csv").read_text() == before


def test_a_table_is_long_form_for_machines_and_markdown_for_people(setting, shown):
    long = pd.DataFrame({"images": [480], "test_loss": [0.25]})
    wide = pd.DataFrame({"images": ["480"], "AE": ["0.2500"]})
    show.save_table(Table("table9", long, wide, "Nine", "A note."), setting.figures)
    text = (setting.figures / "table9.md").read_text()
    assert "| images | AE |\n| --- | --- |\n| 480 | 0.2500 |" in text
    assert text.startswith("**Nine**")
    assert "A note." in text
    assert isinstance(shown[0], Markdown)


def test_a_page_shows_results_in_order_and_says_what_they_rest_on(setting, shown):
    page = show.Page(setting)
    page.begin("mnist", "fashion_mnist")
    said = shown[0].data
    assert "Profile **smoke**, seeds 0." in said
    assert setting.load("mnist").title in said
    assert setting.load("fashion_mnist").caution in said
    frame = pd.DataFrame({"a": [1]})
    page.show(Text("first"), Table("table9", frame, frame, "Nine"), Picture("fig9", plt.figure(), "nothing"))
    assert [type(output) for output in shown[1:]] == [Markdown, Markdown, Image]
    assert not (setting.figures / "fig9.csv").exists()


def test_a_page_on_another_data_set_says_so_first(setting, shown):
    show.Page(replace(setting, dataset="fashion_mnist")).begin()
    show.Page(setting).begin("segmented_mnist")
    other, usual = (output.data for output in shown)
    assert "in the place of MNIST" in other and "is compared" in other and setting.load("mnist").title not in other
    assert "in the place of" not in usual
    assert usual.index(setting.load("mnist").title) < usual.index(setting.load("segmented_mnist").title)


def test_a_picture_that_moves_is_its_figure_where_nothing_moves_and_at_the_end(setting, shown):
    def drawn(height):
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.plot([0, height])
        return figure

    show.save_picture(Picture("fig9", drawn(1), "a line"), setting.figures)
    alone = PIL.Image.open(setting.figures / "fig9.png").convert("RGB").tobytes()
    show.save_picture(Picture("fig9", drawn(1), "a line", moving=(drawn(y) for y in (2, 3))), setting.figures)
    moving = PIL.Image.open(setting.figures / "fig9.png")
    assert moving.convert("RGB").tobytes() == alone
    assert moving.n_frames == 4, "the still one, two that move, and the end"
    durations = []
    for frame in range(1, 4):
        moving.seek(frame)
        durations.append(moving.info["duration"])
        assert (moving.convert("RGB").tobytes() == alone) == (frame == 3)
    assert durations[0] == durations[1] < durations[2]
    assert (setting.figures / "fig9.pdf").stat().st_size > 1000
    plt.close("all")
