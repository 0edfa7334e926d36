"""A folder in another layout than torchvision's: one sentence says what was found there and what is wanted."""

import gzip
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gfe_companion.cli import pipeline
from gfe_companion.cli.arguments import parse
from gfe_companion.cli.environment import Exit
from gfe_companion.datasets import REGISTRY, DataError, StandInWarning, download, found, locate
from gfe_companion.datasets.files import Files

NAMES = tuple(REGISTRY["mnist"].files.md5)
UNUSED = Path("unused")


@pytest.fixture
def here(folder):
    """A folder for other layouts, far from the whole one."""
    (here := folder / "a" / "b" / "c" / "d" / "here").mkdir(parents=True)
    return here


def raw(folder):
    return folder / "MNIST" / "raw"


def said(named, dataset="mnist"):
    with pytest.raises(DataError) as error:
        locate(str(named), dataset, UNUSED)
    text = str(error.value)
    assert "\n" not in text
    return text


def move(source, target, packed=False, rename=lambda name: name):
    """Copy the four files of a whole folder into another one."""
    target.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        content = (raw(source) / name).read_bytes()
        (target / rename(f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("right", "named"),
    [
        (".", "MNIST"),
        (".", "MNIST/raw"),
        (".", f"MNIST/raw/{NAMES[0]}"),
        (".", "other"),
        ("data", "."),
        ("some/data", "."),
        (".", "FashionMNIST"),
    ],
)
def test_the_folder_that_is_meant_is_named(folder, here, right, named, packed):
    move(folder, raw(here / right), packed)
    for empty in ("other", "FashionMNIST"):
        (here / empty).mkdir()
    right = (here / right).absolute()
    assert said(here / named).endswith(f"so name the folder {right}.")
    assert locate(str(right), "mnist", here / "cache").folder is not None


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("place", ["", "MNIST", "mnist/raw", "raw", "MNIST/raw/raw", "data/mnist"])
def test_files_in_another_place(folder, here, place, packed):
    move(folder, here / place, packed)
    text = said(here)
    assert f"is missing: {here / place} has the files of MNIST, and wanted are {', '.join(NAMES[:3])} and" in text
    assert f"in {raw(here)}; put the published file there, or name another folder, or use --data embedded" in text


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_names_with_a_dot_as_on_kaggle(folder, here, packed, case):
    move(folder, raw(here), packed, rename=lambda name: case(name.replace("-idx", ".idx")))
    name, gz = case("t10k-images.idx3-ubyte"), ".gz" if packed else ""
    assert f"{raw(here)}/{name}{case(gz)} should have the name t10k-images-idx3-ubyte{gz}, and wanted" in said(here)


def test_files_of_another_data_set_that_have_the_same_names(folder, here, monkeypatch):
    entry = replace(REGISTRY["fashion_mnist"], files=Files("FashionMNIST", dict.fromkeys(NAMES, "0" * 32), 8))
    monkeypatch.setitem(REGISTRY, "fashion_mnist", entry)
    move(folder, here / "flat", packed=True)
    assert f"{here}/flat has the files of MNIST, and wanted" in said(here, "fashion_mnist")
    for name in (NAMES[1], NAMES[3]):
        (here / "flat" / f"{name}.gz").unlink()
    assert f"{here}/flat has files of these names, and wanted" in said(here, "fashion_mnist")
    shutil.rmtree(here / "flat")
    move(folder, raw(here))
    assert f"{here} has MNIST, and wanted" in said(here, "fashion_mnist")
    (here / "MNIST").rename(here / "FashionMNIST")
    text = said(here, "fashion_mnist")
    file = here / "FashionMNIST" / "raw" / NAMES[0]
    assert text.startswith(f"{file} is damaged, its MD5 sum is ")
    assert ": that is the sum of MNIST's file; put the published file there, or name another folder" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist.npz", "is Keras' format"),
        ("datasets/MNIST.npz", "is Keras' format"),
        ("digits.npz", "is NumPy's format"),
        ("mnist.pkl.gz", "is a pickle"),
        ("mnist/train-00000-of-00001.parquet", "is Hugging Face's format"),
        ("MNIST/processed/training.pt", "is the format of older versions of torchvision"),
        ("mnist_train.csv", "is a table"),
        ("archive.zip", "is an archive, to be unpacked first"),
        ("MNIST/raw.tar.gz", "is an archive, to be unpacked first"),
        ("train/0/1.png", "is a picture"),
        ("train/0/1.JPG", "is a picture"),
    ],
)
def test_other_formats(here, name, words):
    for other in ("README.md", "a.txt", name):
        (here / other).parent.mkdir(parents=True, exist_ok=True)
        (here / other).write_bytes(b"?")
    text = said(here)
    assert text.startswith(f"{raw(here)}/{NAMES[0]} is missing: {here / name} {words}, and wanted are {NAMES[0]}, ")
    assert f"{NAMES[2]} and {NAMES[3]}, or these as .gz, in {raw(here)}; put the published file there" in text


@pytest.mark.parametrize("variable", [False, True])
def test_the_command_ends_with_the_sentence_and_its_exit_code(here, monkeypatch, capsys, variable):
    (here / "mnist.npz").touch()
    monkeypatch.setenv("GFE_DATA", str(here) if variable else "")
    monkeypatch.setenv("GFE_HOME", str(here / "home"))
    flags = ["--profile", "smoke", "--only", "01"] + ([] if variable else ["--data", str(here)])
    assert pipeline.main(parse(flags)) == Exit.DATA == 4
    assert capsys.readouterr().err == f"{said(here)}\n"
    assert not (here / "home").exists()


def test_what_is_no_data_set_at_all(here):
    assert f": {here} is empty, and wanted" in said(here)
    (here / ".hidden").touch()
    assert f": {here} is empty, and wanted" in said(here)
    for name in ("b", "a"):
        (here / name).touch()
    assert f": {here} has a, b, and wanted" in said(here)
    for name in ("c", "d"):
        (here / name).mkdir()
    assert f": {here} has a, b, c and more, and wanted" in said(here)
    assert f": there is no folder {here / 'no'}, and wanted" in said(here / "no")
    assert f"cannot be read (Not a directory): {here / 'a'} is a file, and wanted" in said(here / "a")


def test_a_folder_that_cannot_be_read(here, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", path)

    (here / "mnist.npz").touch()
    monkeypatch.setattr(found.os, "scandir", refused)
    assert f": {here} cannot be read (Permission denied), and wanted" in said(here)


def test_some_files_are_there(folder):
    (raw(folder) / NAMES[2]).unlink()
    (folder / "mnist.npz").touch()
    assert said(folder).startswith(f"{raw(folder)}/{NAMES[2]} is missing: put the published file there, or")


def test_the_look_is_not_deep(here):
    folders = [here / "/".join("123456"[:level]) for level in range(7)]
    folders[-1].mkdir(parents=True)
    for folder in folders:
        (folder / "a.txt").touch()
    assert [path.parent for path in found._walk(here)] == folders[: found.DEEP]


def test_the_look_is_short_however_large_the_folder_is(here):
    for number in range(300):
        (here / f"{number:03}").mkdir()
        for name in range(5):
            (here / f"{number:03}" / f"{name}.txt").touch()
    assert 0 < len(list(found._walk(here))) <= found.ALL - found.EACH
    (here / "loop").symlink_to(here)
    assert len(list(found._walk(here))) <= found.ALL
    started = time.monotonic()
    assert "is missing" in said("/")
    assert time.monotonic() - started < 2


def test_what_lies_in_the_projects_own_folder_is_told_when_nothing_can_be_downloaded(folder, project, monkeypatch):
    def fails(*_):
        raise download.Failed("no network")

    monkeypatch.setattr(download, "download", fails)
    fashion = project / "FashionMNIST" / "raw"
    move(folder, fashion)
    with pytest.warns(StandInWarning, match=rf"GFE_DATA \({fashion} has the files of MNIST\); --data embedded"):
        locate("auto", "mnist", project)
    sums = dict(zip(NAMES, REGISTRY["mnist"].files.md5.values(), strict=True))
    entry = replace(REGISTRY["fashion_mnist"], files=Files("FashionMNIST", sums, 8))
    monkeypatch.setitem(REGISTRY, "fashion_mnist", entry)
    monkeypatch.setitem(
        REGISTRY, "mnist", replace(REGISTRY["mnist"], files=Files("MNIST", dict.fromkeys(NAMES, "0" * 32), 8))
    )
    with pytest.warns(StandInWarning, match="GFE_DATA; --data embedded"):  # they are where they should be
        locate("auto", "mnist", project)
    (project / "mnist.npz").touch()
    with pytest.warns(StandInWarning, match=rf"GFE_DATA \({project}/mnist.npz is Keras' format\); --data embedded"):
        locate("auto", "mnist", project)


@pytest.mark.skipif(not os.environ.get("GFE_DATA"), reason="GFE_DATA names no folder with the real data sets")
def test_the_real_folder_one_level_off():
    real = Path(os.environ["GFE_DATA"]).absolute()
    for named in (real / "MNIST", real / "FashionMNIST" / "raw", real.parent):
        for dataset in ("mnist", "fashion_mnist"):
            assert said(named, dataset).endswith(f"so name the folder {real}.")
