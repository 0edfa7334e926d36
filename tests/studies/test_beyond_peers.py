"""The table of the peers: read from what was published, in brackets what does not come near, and who wins."""

import pandas as pd
import pytest

from gfe_companion.studies import beyond_peers as study
from gfe_companion.studies.needs import read_by


def row(encoder, ours, seconds, warm=False, within=True, images=256, basins=0.01, **more):
    return {
        "images": images, "encoder": encoder, "ours": ours, "warm": warm, "solver": "S()", "passes": 100.0,
        "above": 0.0005 if within else 0.02, "end": 0.0 if within else 0.02, "basins": basins, "within": within,
        "seconds": seconds, "low": seconds, "high": seconds, "timings": 5, "dataset": "mnist", "latent_dim": 20,
        "convolutional": False, "missing": float("nan"), "threads": 2, "busy": 3.0, "trained": 48_000,
        "hardware": "a processor, 2 cores", "apart": 128,
        **more,
    }  # fmt: skip


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Writes rows where the study reads them."""
    path = tmp_path / "peers.csv"
    monkeypatch.setattr(study, "PUBLISHED", path)

    def write(*rows):
        pd.DataFrame(rows).to_csv(path, index=False)
        return study.peers_of()

    return write


def test_without_published_numbers_it_says_what_measures_them(published):
    frame = study.peers_of()
    table = study.table_peers(frame)
    assert table.name == "table_08_peers" and "None measured yet" in table.shown.encoder[0]
    assert "bench --only peers" in study.say_peers(frame)


def test_a_cell_tells_seconds_and_basins_and_brackets_what_ends_too_high(published):
    frame = published(
        row("A", True, 0.5), row("B", False, 0.25, within=False), row("A", True, 9.0, images=10_000, basins=None),
        row("C", False, 0.1, warm=True),
    )  # fmt: skip
    shown = study.table_peers(frame).shown
    few, many = "MNIST, d = 20, 256 images", "MNIST, d = 20, 10,000 images"
    assert shown[few].tolist() == ["0.50; 1.0%", "(0.25, +2.00%; 1.0%)", "0.10; 1.0%"]
    assert shown[many].tolist() == ["9.00", "-", "-"]
    assert shown.whose.tolist() == ["ours, cold", "peer, cold", "peer, warm"]
    notes = study.table_peers(frame).notes
    assert "48,000 training images" in notes and "2 threads of a processor" in notes and "Not installed" not in notes
    assert "within 0.05% in the least time on 128 validation images, none of which is timed" in notes
    lacking = published(row("A", True, 0.5, missing="jax"))
    assert "Not installed there: jax." in study.table_peers(lacking).notes


def test_older_numbers_say_that_settings_were_chosen_on_the_timed_images(published):
    frame = published(row("A", True, 0.5)).drop(columns="apart")
    notes = study.table_peers(frame).notes
    assert "Older numbers" in notes and "on the timed images themselves" in notes and "validation" not in notes


def test_the_sentence_compares_our_fastest_with_the_fastest_peer_that_gets_there(published):
    frame = published(
        row("slow", True, 0.9), row("quick", True, 0.3), row("peer", False, 0.4),
        row("hasty", False, 0.1, within=False),
        row("warm", True, 0.5, warm=True), row("warm peer", False, 0.4, warm=True),
        row("alone", True, 0.5, latent_dim=64), row("hasty", False, 0.5, latent_dim=64, within=False),
        row("hasty", False, 0.5, latent_dim=128, within=False),
    )  # fmt: skip
    lines = study.say_peers(frame).splitlines()
    assert "cold: quick takes 0.75 times as long as peer (0.75 to 0.75" in lines[0]
    assert lines[0].endswith("within the goal of 0.8.")
    assert "warm: warm takes 1.25 times as long as warm peer" in lines[1] and "short of the goal of 0.8" in lines[1]
    assert "d = 64" in lines[2] and "alone comes within 0.1%, and no peer does" in lines[2]
    assert "the nearest ends are of ours alone (+0.00%), of the peers hasty (+2.00%)" in lines[2]
    assert "d = 128" in lines[3] and "nobody comes within 0.1%" in lines[3]
    assert lines[3].endswith("on the images of the sweep the nearest ends are of the peers hasty (+2.00%).")


def test_what_one_side_alone_was_given_does_not_count(published):
    """The fastest of ours has oneDNN: it counts once a peer has it too."""
    ours = (row("A", True, 0.4, low=0.3), row("A, oneDNN", True, 0.2))
    told = study.say_peers(published(*ours, row("B", False, 0.5, high=0.6)))
    assert "A takes 0.80 times as long as B (0.50 to 0.80" in told
    told = study.say_peers(published(*ours, row("B", False, 0.5), row("B, oneDNN", False, 0.25)))
    assert "A, oneDNN takes 0.80 times as long as B, oneDNN" in told


def test_peers_that_were_not_there_are_named_first(published):
    frame = published(row("A", True, 0.5, missing="jax, optimistix"), row("B", False, 0.5, missing="jax, optimistix"))
    assert study.say_peers(frame).startswith("**Not installed where this was measured: jax, optimistix.**")


def test_the_notebook_is_out_of_date_when_other_numbers_are_published(tmp_path, monkeypatch):
    there, absent = tmp_path / "there.csv", tmp_path / "absent.csv"
    there.write_text("x\n", encoding="utf-8")
    monkeypatch.setattr("gfe_companion.studies.beyond_the_paper.READS", (there, absent))
    assert read_by("08_beyond_the_paper") == (there,)
    assert read_by("01_encoding_as_gradient_flow") == ()
