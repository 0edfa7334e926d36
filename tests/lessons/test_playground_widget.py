"""The playground's other home: a notebook's kernel answers what the page asks, with every solver of the registry."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from gfe_companion.lessons.playground import racers, weights
from gfe_companion.lessons.playground.watched import PASSES, race
from gfe_companion.lessons.playground.widget import Playground, seen_loss
from gfe_core.amd import AMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective
from gfe_core.wrappers import Penalised

TRIALS = 12


@pytest.fixture
def asked(monkeypatch):
    """Asks a widget a question as the page does, and returns its answer with the numbers that came along."""

    def once(widget, content, *numbers):
        sent = []
        monkeypatch.setattr(widget, "send", lambda *answer: sent.append(answer))
        buffers = [memoryview(np.asarray(each, np.float64).tobytes()) for each in numbers]
        widget._hear(widget, {"number": 7, **content}, buffers)
        ((answer, binary),) = sent
        assert answer["number"] == 7
        return answer, binary

    def ask(widget, content, *numbers):
        answer, binary = once(widget, content, *numbers)
        races = answer.get("races", [])
        while any(each["status"] is None for each in races):
            seen = [len(each["frames"]) for each in races]
            more, added = once(widget, {"question": "on", "seen": seen, "toy": len(numbers[-1]) > 0})
            binary = [a + b for a, b in zip(binary, added, strict=True)]
            for old, new in zip(races, more["races"], strict=True):
                old |= {"status": new["status"], "frames": old["frames"] + new["frames"]}
        return answer, binary

    ask.once = once
    return ask


def shades(words):
    """Pictures in [0, 1] of what is sent in 16 bits."""
    return 1 / (1 + np.exp(-np.frombuffer(words, np.int16).reshape(-1, 784) / 1024))


def question(*places, **more):
    return {"question": "encode", "racers": list(places), "trials": TRIALS, "settings": {}, "penalty": 0.0} | more


@pytest.mark.parametrize("place", range(len(racers.everyone())), ids=list(racers.everyone()))
def test_every_solver_of_the_registry_races_and_none_gets_more_passes(asked, place):
    widget = Playground()
    image = weights.read().digits[3]
    answer, (latents, pictures) = asked(widget, question(place), image, [], [])
    (went,) = answer["races"]
    assert went["name"] == list(racers.everyone())[place]
    frames = went["frames"]
    start, dearest = frames[0]["passes"], max(b["passes"] - a["passes"] for a, b in pairwise(frames))
    assert frames[-1]["passes"] < PASSES * (TRIALS + 1) + max(start, dearest)
    assert len(latents) == 8 * 20 * len(frames) and len(pictures) == 2 * 784 * len(frames)
    assert frames[-1]["loss"] < frames[0]["loss"]


def test_settings_reach_the_solver_and_only_those_that_it_has(asked):
    widget, image = Playground(), weights.read().digits[1]
    chosen = {"AMD": {"tau": 1e4, "beta": 0.5, "kappa": 1.0, "s_max": 10.0, "grow_accepted": False, "unknown": 3}}
    (went,) = asked(widget, question(0, settings=chosen), image, [], [])[0]["races"]
    solver = AMD(beta=0.5, kappa=1.0, tolerance=1e-3, max_trials=TRIALS)
    encoding = solver.encode(Objective(widget.decoder, image[None]))
    assert went["frames"][-1]["loss"] == pytest.approx(encoding.loss.item(), abs=1e-6)
    assert went["frames"][-1]["passes"] == encoding.evaluations


def test_what_was_erased_is_left_out_of_the_loss(asked):
    widget, image = Playground(), weights.read().digits[2]
    seen = torch.ones(784)
    seen[392:] = 0
    answer, _ = asked(widget, question(1, penalty=1e-3), seen * image, seen, [])
    objective = Objective(widget.decoder, (seen * image)[None], seen_loss, extra=seen[None])
    went = race(racers.everyone()["quasi-Newton"], Penalised(objective, 1e-3), TRIALS)
    assert answer["races"][0]["frames"] == went.frames


def test_the_toy_the_walk_and_the_autoencoder(asked):
    widget, published = Playground(), weights.read()
    answer, (latents, pictures) = asked(widget, question(0), [], [], [-1.0, 2.0])
    assert np.frombuffer(latents)[:2].tolist() == [-1.0, 2.0] and pictures == b""
    _, (decoded,) = asked(widget, {"question": "decode", "count": 2}, np.zeros(40))
    first, second = shades(decoded)
    assert (first == second).all()
    _, (guess,) = asked(widget, {"question": "guess"}, published.digits[4])
    away = shades(guess)[0] - published.digits[4].numpy()
    assert np.square(away).mean() < 0.02


def test_a_solver_and_a_decoder_of_ones_own(asked):
    decoder = Decoder(generator=torch.Generator().manual_seed(0))
    widget = Playground(decoder=decoder, solvers={"mine": AMD(s_max=500.0, grow_accepted=True)})
    place = [solver["name"] for solver in widget.solvers].index("mine")
    (went,) = asked(widget, question(place), weights.read().digits[0], [], [])[0]["races"]
    assert went["name"] == "mine" and "mine" in widget.looks
    assert went["frames"][0]["loss"] == pytest.approx(np.log(2), abs=0.02), "an untrained decoder"


def test_what_a_solver_cannot_take_is_told(asked):
    wrong = {"AMD": {"beta": 2.0}}
    answer, binary = asked(Playground(), question(0, settings=wrong), weights.read().digits[0], [], [])
    assert answer["races"] == [] and "beta = 2.0" in answer["error"] and binary == []


def test_pictures_are_as_exact_as_the_loss_that_is_read_from_them(asked):
    """On an image that a digit's decoder is wrong about, and sure of it."""
    widget, image = Playground(), np.zeros(784)
    image[300:500] = 1
    answer, (_, pictures) = asked(widget, question(1), image, [], [])
    shown = np.clip(shades(pictures), 1e-12, 1 - 1e-12)
    losses = -(image * np.log(shown) + (1 - image) * np.log(1 - shown)).mean(axis=1)
    looked = [frame["loss"] for frame in answer["races"][0]["frames"] if frame["accepted"]]
    kept = losses[[frame["accepted"] for frame in answer["races"][0]["frames"]]]
    assert kept == pytest.approx(looked, abs=5e-4) and looked[0] > 0.5


def test_an_answer_comes_in_time_and_another_question_ends_the_race(asked):
    widget, image = Playground(), weights.read().digits[0]
    without_end = question(0, settings={"AMD": {"tolerance": 0.0, "tau": 1e9}}, trials=100_000)
    started = time.perf_counter()
    answer, _ = asked.once(widget, without_end, image, [], [])
    assert time.perf_counter() - started < 5
    (went,) = answer["races"]
    assert went["status"] is None and went["frames"][0]["trials"] == 0
    first = widget._ended
    answer, _ = asked(widget, question(1), image, [], [])
    assert first.done() and [each["name"] for each in answer["races"]] == ["quasi-Newton"]
    assert answer["races"][0]["frames"][0]["trials"] == 0


def test_what_a_decoder_of_ones_own_raises_is_told(asked):
    narrow = torch.nn.Linear(20, 10)
    narrow.latent_dim = 20
    answer, binary = asked(Playground(decoder=narrow), question(0), weights.read().digits[0], [], [])
    assert answer["races"] == [] and answer["error"] and binary == []
