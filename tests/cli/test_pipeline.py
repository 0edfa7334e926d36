"""Notebooks run in order, once; a failing one is kept and named; what is damaged or changed is made again."""

import argparse
import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import nbformat
import pytest

from gfe_companion.cli import pipeline
from gfe_companion.cli.environment import Exit
from gfe_companion.datasets import DataError, Source, StandInWarning
from gfe_companion.runs.profiles import Setting

PARAMETERS = 'profile: str = "quick"\ndata: str = "auto"\nseeds: str = ""\njobs: int = 0\ndevice: str = "auto"'


@pytest.fixture
def project(monkeypatch, tmp_path):
    """A folder of notebooks for the pipeline, and a function that adds one."""
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()

    def add(name, *sources, **about):
        cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "gfe": about})
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")

    add.root = tmp_path
    return add


def options(**changed):
    defaults = {
        "profile": "smoke", "data": "embedded", "only": [], "start": None, "force": False, "seeds": None, "jobs": 1,
        "device": "cpu", "publish": False, "keep_going": False, "parameters": {}, "plan": False, "keep_runs": False,
        "timeout": None, "scheduler": None, "workers": 0,
    }  # fmt: skip
    return argparse.Namespace(**defaults | changed)


def draws(root, name):
    """A cell that makes a file of the profile's figures, and says so as a page does."""
    return (
        "from pathlib import Path\nfrom IPython.display import Markdown, display\n"
        f"path = Path({str(root)!r}) / 'figures' / profile / '{name}'\n"
        "path.parent.mkdir(parents=True, exist_ok=True)\npath.write_text(seeds or 'none')\n"
        "display(Markdown('drawn'), metadata={'made': {'name': path.stem}})"
    )


def waits_for(path):
    return (
        "import time\nends = time.time() + 60\n"
        f"while not Path({str(path)!r}).exists():\n    assert time.time() < ends\n    time.sleep(0.05)"
    )


def test_the_second_call_does_nothing_until_something_changed(project, capsys):
    figure = project.root / "figures" / "smoke" / "fig.txt"
    project("01_one", draws(project.root, "fig.txt"))
    assert pipeline.main(options()) == Exit.DONE
    assert figure.read_text() == "none"
    executed = nbformat.read(project.root / "build" / "smoke" / "01_one.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3]

    capsys.readouterr()
    assert pipeline.main(options(jobs=2)) == Exit.DONE
    assert "nothing to do" in capsys.readouterr().err

    figure.write_text("damaged")
    assert pipeline.main(options()) == Exit.DONE
    assert figure.read_text() == "none"

    assert pipeline.main(options(seeds=(4, 5))) == Exit.DONE
    assert figure.read_text() == "4,5"
    project("01_one", draws(project.root, "fig.txt"), "1 + 1")
    capsys.readouterr()
    assert pipeline.main(options(seeds=(4, 5))) == Exit.DONE
    assert "running" in capsys.readouterr().err


def test_a_failing_notebook_is_kept_as_far_as_it_got_and_named(project, capsys):
    project("01_bad", "reached = 1\nreached", "raise RuntimeError('the dog ate it')", "1")
    project("02_next", "2")
    assert pipeline.main(options()) == Exit.FAILED
    said = capsys.readouterr().err
    for part in ("01_bad.ipynb", "RuntimeError", "the dog ate it", "build/smoke/01_bad.failed.ipynb"):
        assert part in said
    assert "02_next" not in said
    kept = nbformat.read(project.root / "build" / "smoke" / "01_bad.failed.ipynb", as_version=4)
    assert any("execute_result" in str(cell.get("outputs")) for cell in kept.cells)

    assert pipeline.main(options(keep_going=True)) == Exit.FAILED
    assert "02_next: done" in capsys.readouterr().err
    project("01_bad", "1")
    assert pipeline.main(options()) == Exit.DONE
    assert not (project.root / "build" / "smoke" / "01_bad.failed.ipynb").exists()


def test_the_runs_of_all_notebooks_go_as_one_grid_before_the_first(project, monkeypatch, capsys):
    grids = []

    def grid(needs, setting):
        grids.append((list(needs), "running" in capsys.readouterr().err))
        warnings.warn("a run is damaged and is made again.", stacklevel=1)
        raise RuntimeError("which the notebook says in its place")

    monkeypatch.setattr(pipeline, "run_grid", grid)
    monkeypatch.setattr(pipeline.Notebook, "needs", lambda self: ["shared", self.path.stem])
    monkeypatch.setattr(pipeline.Notebook, "_runs", lambda self: [])
    for name in ("01_one", "02_two"):
        project(name, "1")
    assert pipeline.main(options(jobs=2, only=["01"])) == Exit.DONE
    project("03_three", "1")
    capsys.readouterr()
    assert pipeline.main(options(jobs=2)) == Exit.DONE
    assert grids == [(["shared", "01_one"], False), (["shared", "02_two", "03_three"], False)]
    assert "a run is damaged and is made again." in capsys.readouterr().err
    for alone in ({"jobs": 1}, {"jobs": 2, "timeout": 5.0}):
        assert pipeline.main(options(force=True, **alone)) == Exit.DONE
    assert len(grids) == 2, "a notebook's minutes count its own runs, and one process gains nothing"


def test_the_smoke_profile_alone_executes_side_by_side_and_last_what_reads_the_others(project, capsys):
    """Two notebooks that wait for each other's figure, and one that reads both."""
    figures = project.root / "figures" / "smoke"
    project("01_one", draws(project.root, "one.csv"), waits_for(figures / "two.csv"))
    project("02_two", draws(project.root, "two.csv"), waits_for(figures / "one.csv"))
    reads = f"sorted(path.name for path in Path({str(figures)!r}).glob('*.csv')) == ['one.csv', 'two.csv']"
    project("00_reads", f"from pathlib import Path\nassert {reads}", reads_figures=True)
    assert pipeline.main(options(jobs=2)) == Exit.DONE
    stamps = {path.stem: json.loads(path.read_text()) for path in (figures / "../../build/smoke/stamps").iterdir()}
    made = {stem: [name for name in stamp["made"] if "figures" in name] for stem, stamp in stamps.items()}
    assert made == {"00_reads": [], "01_one": ["figures/smoke/one.csv"], "02_two": ["figures/smoke/two.csv"]}
    assert stamps["00_reads"]["rests_on"]["figures"].keys() == {"one.csv", "two.csv"}

    taken = "import time\nfrom pathlib import Path\nbegun = time.time()\ntime.sleep(0.5)\n"
    for name in ("01_one", "02_two"):
        project(name, f"{taken}Path({str(project.root / name)!r}).write_text(f'{{begun}} {{time.time()}}')")
    for alone in ({"profile": "quick"}, {"timeout": 5.0}, {"jobs": 1}):
        assert pipeline.main(options(**{"jobs": 2, "force": True, "only": ["01", "02"]} | alone)) == Exit.DONE
        (_, ends), (begins, _) = ((project.root / name).read_text().split() for name in ("01_one", "02_two"))
        assert float(ends) < float(begins), "their cells may read clocks"


def test_only_and_from_choose(project, capsys):
    for name in ("01_one", "02_two", "03_three"):
        project(name, "1")
    assert pipeline.main(options(only=["02"])) == Exit.DONE
    assert pipeline.main(options(start="02")) == Exit.DONE
    said = capsys.readouterr().err
    assert "01_one" not in said
    assert "02_two: nothing to do" in said
    assert "03_three: done" in said
    assert pipeline.main(options(only=["03"], force=True)) == Exit.DONE
    assert "03_three: running" in capsys.readouterr().err


def test_bad_data_and_a_missing_gpu_stop_before_anything_runs(project, monkeypatch, capsys):
    project("01_one", "1")
    assert pipeline.main(options(data=str(project.root))) == Exit.DATA
    assert "train-images-idx3-ubyte is missing" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pipeline.main(options(device="cuda")) == Exit.USAGE
    assert "no CUDA device" in capsys.readouterr().err

    def damaged(setting, dataset):
        raise DataError("that file is damaged")

    monkeypatch.setattr(Setting, "source", damaged)
    assert pipeline.main(options()) == Exit.DATA
    assert not (project.root / "build").exists()


def test_the_kernels_are_told_of_the_scheduler_which_must_answer(project, monkeypatch, capsys):
    project("01_one", "import os; assert os.environ['GFE_SCHEDULER'] == 'tcp://127.0.0.1:1'")
    assert pipeline.main(options(scheduler="tcp://127.0.0.1:1")) == Exit.ENVIRONMENT
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no Dask scheduler answers at tcp://127.0.0.1:1" in said
    assert not (project.root / "build").exists()
    monkeypatch.setattr(pipeline.cluster, "connect", lambda scheduler: SimpleNamespace(close=lambda: None))
    assert pipeline.main(options(scheduler="tcp://127.0.0.1:1")) == Exit.DONE
    monkeypatch.setenv("GFE_SCHEDULER", "tcp://127.0.0.1:1")
    assert pipeline.main(options(force=True)) == Exit.DONE, "the variable does what the flag does"


def test_a_fall_back_to_stand_ins_is_loud_and_told_to_the_notebooks(project, monkeypatch, capsys):
    def falls_back(setting, dataset):
        warnings.warn("stand-ins are used", StandInWarning, stacklevel=1)
        return Source(None)

    monkeypatch.setattr(Setting, "source", falls_back)
    project("01_one", "assert data == 'embedded'")
    assert pipeline.main(options(data="auto")) == Exit.DONE
    assert "*** stand-ins are used ***" in capsys.readouterr().err


def test_a_call_that_ends_early_has_not_read_what_the_report_needs():
    """Seconds of each call: a grammar that jsonschema looks for, Matplotlib, SciPy."""
    program = (
        "import sys, gfe_companion.cli.pipeline, jsonschema\n"
        "print([name for name in ('lark', 'matplotlib', 'scipy', 'bs4') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_another_data_set_goes_into_folders_of_its_own(project, capsys):
    project("01_one", "print(dataset)")
    path = project.root / "notebooks" / "01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += '\ndataset: str = "mnist"'
    nbformat.write(notebook, path)
    for given in ("FashionMNIST", "fashion_mnist"):
        assert pipeline.main(options(parameters={"dataset": given})) == Exit.DONE
    assert "01_one: nothing to do" in capsys.readouterr().err, "both name the same"
    assert not (project.root / "build" / "smoke").exists()
    made = nbformat.read(project.root / "build" / "smoke-fashion_mnist" / "01_one.ipynb", as_version=4)
    assert made.cells[-1].outputs[0].text == "fashion_mnist\n"
    assert pipeline.main(options(parameters={"dataset": "cifar"})) == Exit.USAGE
    said = capsys.readouterr().err
    assert "valid are mnist, segmented_mnist, fashion_mnist" in said and said.count("\n") == 1
