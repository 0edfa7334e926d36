"""A figure is saved whole, in three forms, and shown with words for those who cannot see it."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.display import Image, Markdown

from gfe_companion.runs.profiles import Setting
from gfe_companion.site import figures


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(figures, "display", lambda output, metadata: seen.append(output))
    return seen


@pytest.fixture
def setting(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    return Setting.of("smoke", "embedded", device="cpu")


def test_a_figure_becomes_png_pdf_and_csv(setting, shown):
    figures.style()
    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    data = pd.DataFrame({"x": [1, 2], "y": [3 + 1e-17, 1 / 3]})
    figures.save(figure, data, "fig9", setting, alt="a line that rises")
    assert sorted(path.name for path in setting.figures.iterdir()) == ["fig9.csv", "fig9.pdf", "fig9.png"]
    assert (setting.figures / "fig9.png").read_bytes().startswith(b"\x89PNG")
    assert (setting.figures / "fig9.pdf").read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(setting.figures / "fig9.csv"), data)
    assert isinstance(shown[0], Image)
    assert shown[0].alt == "a line that rises"
    assert not plt.fignum_exists(figure.number)


def test_what_fails_to_be_drawn_leaves_the_old_file_whole(setting, shown, monkeypatch):
    data = pd.DataFrame({"a": [1]})
    figures.save_table(data, data, "table9", setting, "Nine", "notes")
    before = (setting.figures / "table9.csv").read_text()

    def half(self, path, **_):
        path.write_text("a\n")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(OSError, match="disk full"):
        figures.save_table(data, data, "table9", setting, "Nine", "notes")
    assert (setting.figures / "table9.csv").read_text() == before


def test_a_table_is_long_form_for_machines_and_markdown_for_people(setting, shown):
    long = pd.DataFrame({"images": [480], "test_loss": [0.25]})
    wide = pd.DataFrame({"images": ["480"], "AE": ["0.2500"]})
    figures.save_table(long, wide, "table9", setting, "Nine", "A note.")
    text = (setting.figures / "table9.md").read_text()
    assert "| images | AE |\n| --- | --- |\n| 480 | 0.2500 |" in text
    assert text.startswith("**Nine**")
    assert "A note." in text
    assert isinstance(shown[0], Markdown)


def test_methods_can_be_told_apart_without_colour():
    looks = [(look.marker, look.linestyle) for look in figures.METHODS.values()]
    assert len(set(looks)) == len(looks)
