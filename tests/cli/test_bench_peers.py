"""The race against peers: settings are the fastest that get there, basins are told apart, who is missing is told."""

from dataclasses import dataclass, field

import pandas as pd
import pytest
import torch
from conftest import mlp, seeded

from gfe_companion.cli import bench_peers
from gfe_companion.cli.bench_arguments import parse_bench
from gfe_companion.cli.bench_peers import Racer, Rung, chosen, climbed, race
from gfe_companion.methods import Entrant, products
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies.beyond_peers import ONEDNN
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.objective import Objective

TIGHT, ONE_STEP = QuasiNewtonAMD(tolerance=0.0), AMD(max_trials=1)


@pytest.fixture
def problem():
    decoder = mlp((4, 6, 9), seed=4, dtype=torch.float32)
    return decoder, *decoder(torch.randn(2, 12, 4, generator=seeded(4))).sigmoid().detach()


def rung(seconds: float, *losses: float) -> Rung:
    return Rung(TIGHT, torch.tensor(losses, dtype=torch.float64), seconds)


def test_the_fastest_that_comes_near_the_best_is_chosen():
    """Near is within half of what is asked of other images."""
    best = torch.tensor([1.0, 1.0], dtype=torch.float64)
    far, near, nearest, slow = rung(1, 2, 2), rung(1, 1, 1.0018), rung(2, 1.0008, 1), rung(9, 1, 1)
    assert chosen([far, near, slow, nearest], best) == nearest
    assert chosen([far, rung(2, 1.5, 1.0), rung(1.5, 1.501, 1.0), slow], best) is slow
    stuck = [far, rung(2, 1.5, 1.0), rung(1.5, 1.501, 1.0)]
    assert chosen(stuck, best) == stuck[2]


def test_a_ladder_ends_where_it_is_settled_or_too_slow(problem, monkeypatch):
    tried = []

    @dataclass(frozen=True)
    class Spy(QuasiNewtonAMD):
        log: list = field(default_factory=list, compare=False)

        def encode(self, objective, z0=None, record=False):
            tried.append((self.max_trials, len(objective)))
            return super().encode(objective, z0, record)

    decoder, images, _ = problem
    ladder = [Spy(tolerance=0.0, max_trials=n) for n in (1, 5, 400, 500, 600)]
    assert [r.solver for r in climbed(ladder, decoder, images, limit_s=60)] == ladder[:4]
    assert tried == [(1, 12), *((n, 12) for n in (1, 5, 400, 500))]
    assert [r.solver for r in climbed(ladder, decoder, images, limit_s=0)] == ladder[:1]


def test_settings_are_chosen_on_other_images_than_those_that_are_timed(problem, monkeypatch):
    """On images that the decoder draws from near z = 0 one step is enough; on those that are timed it is not."""
    real = bench_peers._timed
    monkeypatch.setattr(bench_peers, "_timed", lambda solver, *rest: (1.0 + (solver == TIGHT), real(solver, *rest)[1]))
    decoder, apart, images = problem
    easy = decoder(1e-3 * torch.randn(12, 4, generator=seeded(5))).sigmoid().detach()
    everyone = [Racer(Entrant("either", ((ONE_STEP, TIGHT),)), True), Racer(Entrant("peer", ((TIGHT,),)), False)]
    frame = race(decoder, easy, images, everyone, [], repeats=1, limit_s=60).set_index("encoder")
    assert frame.solver["either"] == repr(ONE_STEP) and not frame.within["either"]
    assert frame.end["either"] == pytest.approx(0, abs=1e-3) and frame.above["either"] > 1e-3
    frame = race(decoder, apart, easy, everyone, [], repeats=1, limit_s=60).set_index("encoder")
    assert frame.solver["either"] == repr(TIGHT) and frame.within.all() and set(frame.apart) == {12}


def test_basins_and_ends_are_told_apart(problem):
    decoder, apart, images = problem
    everyone = [
        Racer(Entrant("ours", ((QuasiNewtonAMD(tolerance=1e-2), TIGHT),)), True),
        Racer(Entrant("stuck", ((ONE_STEP,),)), False),
    ]
    frame = race(decoder, apart, images, everyone, [], repeats=5, limit_s=60).set_index("encoder")
    assert frame.within.tolist() == [True, False] and frame.ours.tolist() == [True, False]
    best = TIGHT.encode(Objective(decoder, images)).loss
    once = ONE_STEP.encode(Objective(decoder, images)).loss
    assert (
        frame.basins["stuck"] == pytest.approx(float((once > 1.01 * best).double().mean()))
        and frame.basins["ours"] == 0
    )
    assert frame.above["stuck"] == pytest.approx(float(once.mean() / best.mean()) - 1, rel=1e-3)
    there, lowest = (solver.encode(Objective(decoder, apart)).loss.mean() for solver in (ONE_STEP, TIGHT))
    assert frame.end["stuck"] == pytest.approx(float(there / lowest) - 1, rel=1e-3)
    assert frame.above["ours"] <= 1e-3 and frame.end["ours"] == pytest.approx(0, abs=1e-6)
    assert (frame.timings == 5).all() or frame.timings["stuck"] == 5
    assert (frame.low <= frame.seconds).all() and (frame.seconds <= frame.high).all()


def test_who_is_far_slower_than_the_fastest_peer_from_that_start_is_timed_once(problem, monkeypatch):
    clock = {"fast": 1.0, "slow": 9.0, "ours": 2.0}
    names = {1: "fast", 2: "slow", 3: "ours"}
    real = bench_peers._timed

    def timed(solver, *rest):
        return clock[names[solver.pairs]], real(solver, *rest)[1]

    monkeypatch.setattr(bench_peers, "_timed", timed)
    everyone = [Racer(Entrant(name, ((LBFGSAMD(pairs=n),),)), name == "ours") for n, name in names.items()]
    frame = race(*problem, everyone, [], repeats=5, limit_s=60).set_index("encoder")
    assert frame.timings.to_dict() == {"fast": 5, "slow": 1, "ours": 5}
    assert frame.seconds.to_dict() == clock


def test_many_images_go_in_batches(problem, monkeypatch):
    monkeypatch.setattr(bench_peers, "FEW", 4)
    monkeypatch.setattr(bench_peers, "BATCH", 3)
    everyone = [Racer(Entrant("ours", ((TIGHT,),)), True), Racer(Entrant("peer", ((TIGHT,),)), False)]
    frame = race(*problem, everyone, [4, 12], repeats=5, limit_s=60)
    assert frame.images.tolist() == [4, 4, 12, 12]
    whole = frame[frame.images == 12]
    assert whole.within.all() and (whole.timings == 4).all() and (whole.basins == 0).all()
    decoder, _, images = problem
    passes = TIGHT.encode(Objective(decoder, images)).evaluations / 12
    assert whole.passes.tolist() == pytest.approx([passes] * 2, rel=0.1)


@pytest.mark.slow
def test_without_optimistix_the_race_says_so_and_goes_on(monkeypatch, capsys, tmp_path):
    """The whole of it, in the small: every decoder, from its training to the published numbers."""
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    monkeypatch.setattr("gfe_companion.methods.peers.find_spec", lambda name: None)
    assert not [racer for racer in bench_peers.racers() if "optimistix" in racer.entrant.name]
    few = [Racer(Entrant("ours", ((LBFGSAMD(max_trials=3),),), warm=warm), True) for warm in (False, True)]
    monkeypatch.setattr(bench_peers, "racers", lambda: few)
    monkeypatch.setattr(bench_peers, "TRAINED", 32)
    monkeypatch.setattr(bench_peers, "FEW", 4)
    monkeypatch.setattr(bench_peers, "PUBLISHED", tmp_path / "bench" / "peers.csv")
    monkeypatch.setattr(bench_peers.os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setattr(bench_peers.psutil, "cpu_percent", lambda interval: 7.0)
    loaded, load = [], Setting.load
    monkeypatch.setattr(Setting, "load", lambda self, dataset: loaded.append(dataset) or load(self, dataset))
    found = bench_peers.tables(["peers"], Setting.of("smoke", "embedded", jobs=1), [4, 6], 1)
    assert loaded == [dataset for dataset, *_ in bench_peers.SHAPES]  # each from its own source
    assert "optimistix does not take part: jax and optimistix cannot be imported" in capsys.readouterr().out
    bench_peers.publish(found)
    frame = pd.read_csv(bench_peers.PUBLISHED)
    assert frame.groupby(["dataset", "latent_dim", "convolutional"]).ngroups == len(bench_peers.SHAPES)
    assert frame[frame.latent_dim == 20].images.tolist() == [4, 4, 6, 6, 4, 4]
    assert set(frame.missing) == {"jax, optimistix"} and set(frame.busy) == {7.0}
    assert bench_peers.tables(["grid"], Setting.of("smoke", "embedded"), [4], 1) == {}


def test_the_peers_are_raced_where_they_are_asked_for_alone():
    assert parse_bench(["--only", "peers"]).only == ["peers"] and parse_bench([]).only == []


def test_everyone_has_ladders_and_peers_stand_beside_ours(monkeypatch):
    monkeypatch.setattr("gfe_companion.methods.against_peers.missing", list)
    everyone = bench_peers.racers()
    assert len({(racer.entrant.name, racer.entrant.warm) for racer in everyone}) == len(everyone)
    assert all(ladder for racer in everyone for ladder in racer.entrant.ladders)
    for warm in (False, True):
        of_start = [racer for racer in everyone if racer.entrant.warm == warm]
        assert {racer.ours for racer in of_start} == {True, False}
        if products.available():
            assert {racer.ours for racer in of_start if racer.onednn} == {True, False}, "both sides have it"
            assert all(racer.entrant.name.endswith(ONEDNN) == racer.onednn for racer in of_start)
