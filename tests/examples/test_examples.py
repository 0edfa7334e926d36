"""The examples as a reader runs them, on fewer images: what they write, and that what they claim holds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """An example in a process and a folder of its own, on one thread."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def numbers(text: str, pattern: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, text)]


def picture(path: Path) -> np.ndarray:
    """The pixels of a figure, which is wide enough to be read, and not empty."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] > 1000 and pixels.std() > 10
    edge = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3), pixels[:, :3].reshape(-1, 3)])
    assert (edge == 255).all(), "something is clipped at the figure's edge"
    return pixels


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_short_and_tells_how_it_is_run(path):
    source = path.read_text()
    assert len(source.splitlines()) <= (75 if path.stem == "pictures" else 60)
    if path.stem != "pictures":
        assert f"python examples/{path.name}" in source.split('"""')[1]


@pytest.fixture
def folder(tmp_path):
    """Pictures of every kind, one in a folder within, and two files that are none."""
    draw, place = np.random.default_rng(0), tmp_path / "mine"
    (place / "within").mkdir(parents=True)
    colours = draw.integers(0, 256, (50, 70, 4), dtype=np.uint8)
    Image.fromarray(colours[:, :, 0]).save(place / "grey.png")
    Image.fromarray(colours[:, :, :2]).save(place / "grey-transparent.png")
    Image.fromarray(colours).save(place / "transparent.png")
    Image.fromarray(colours[:, :, :3]).quantize(8).save(place / "palette.gif")
    Image.fromarray(colours[:, :, 0] > 99).save(place / "bits.png")
    Image.fromarray(colours[:3, :, :3]).convert("CMYK").save(place / "wide.jpg")
    Image.fromarray(draw.random((40, 40), dtype=np.float32)).save(place / "floats.tiff")
    Image.fromarray(draw.integers(0, 65536, (40, 40), dtype=np.uint16)).save(place / "within" / "sixteen.png")
    (place / "notes.txt").write_text("no picture")
    (place / "broken.png").write_bytes((place / "transparent.png").read_bytes()[:200])
    return place


def test_own_images(folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run("own_images", folder, "--out", tmp_path / "out", "--images", 320, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(" is left out")[0] for line in done.stdout.splitlines()[:-1]] == [
        str(folder / "broken.png"), str(folder / "notes.txt")
    ]  # fmt: skip
    assert "8 pictures are encoded" in done.stdout.splitlines()[-1]
    saved = torch.load(tmp_path / "out" / "encoded.pt", weights_only=True)
    assert len(saved["z"]) == len(saved["names"]) == 8 and "within/sixteen.png" in saved["names"]
    assert saved["z"].isfinite().all() and "0.weight" in saved["decoder"]
    picture(tmp_path / "out" / "reconstructed.png")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_own_images_by_default_reconstructs_photographs(tmp_path):
    done = run("own_images", "--images", 3_200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (error,) = numbers(done.stdout, r"off by ([\d.]+)%")
    assert error < 15, "a grey square is off by 30 %"
    picture(tmp_path / "examples_out" / "own_images" / "reconstructed.png")


def test_what_is_there_is_not_overwritten(folder, tmp_path):
    done = run("own_images", folder, "--out", folder, "--images", 320, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].endswith("with --out, or remove it.")
    assert not (folder / "encoded.pt").exists()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_pictures_gets_a_sentence(name, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("own_images", tmp_path / name, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == f"there is no picture in {tmp_path / name}; pass a folder of some.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_own_decoder_is_trained_better_than_the_autoencoder(tmp_path):
    done = run("own_decoder", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    gfe, autoencoder = numbers(done.stdout, r"test loss ([\d.]+)")
    assert gfe < autoencoder
    picture(tmp_path / "out" / "own_decoder.png")


@pytest.mark.slow
def test_inpainting_fills_in_better_than_the_autoencoder(tmp_path):
    done = run("inpainting", "--out", tmp_path / "out", "--images", 4_800, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    gfe, autoencoder = numbers(done.stdout, r"unseen half ([\d.]+)")
    assert gfe < 0.9 * autoencoder
    picture(tmp_path / "out" / "inpainting.png")


@pytest.mark.slow
def test_conditional_latents_are_decoded_as_other_digits(tmp_path):
    done = run("conditional", "--out", tmp_path / "out", "--images", 12_800, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (agreed,) = numbers(done.stdout, r"read (\d+)% as the label")
    assert agreed > 60, "by chance it is 10 %"
    picture(tmp_path / "out" / "conditional.png")
