"""The playground's own engine gives what gfe_core gives, on the same networks: run by Node, where there is one."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from engines import ANSWER, SOLVERS, problem, question, same

from gfe_companion.lessons.playground import module, racers, weights
from gfe_companion.lessons.playground.watched import race
from gfe_companion.lessons.playground.widget import TOY_TRUTH, Toy, seen_loss
from gfe_companion.methods import UNCAPPED
from gfe_core.objective import Objective, bce
from gfe_core.wrappers import Penalised

NODE = shutil.which("node")
ASK = f"""
import {{ readFileSync }} from "node:fs";
const engine = await import(process.argv[2]);
const {{ networks }} = await engine.readWeights(Uint8Array.from(readFileSync(process.argv[3])).buffer);
console.log(JSON.stringify(({ANSWER})(engine, networks, JSON.parse(readFileSync(0)))));
"""
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node, to run the playground's script")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script")
    (folder / "module.mjs").write_text(module.source())
    (folder / "ask.mjs").write_text(ASK)
    return folder


@pytest.fixture(scope="module")
def asked(script):
    def ask(solver, images, **more):
        command = [NODE, script / "ask.mjs", script / "module.mjs", weights.PUBLISHED]
        done = subprocess.run(
            command, input=question(solver, images, **more), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@needs_node
@pytest.mark.parametrize("name", SOLVERS)
def test_the_same_latents_and_losses_as_gfe_core(asked, name):
    decoder, images = problem(10)
    encoding = SOLVERS[name].encode(Objective(decoder, images))
    same(asked(SOLVERS[name], images)["answers"], encoding)


@needs_node
@pytest.mark.parametrize("name", ["uncapped", "quasi-Newton"])
def test_where_half_of_the_image_was_erased(asked, name):
    decoder, images = problem(10)
    seen = torch.ones(784, dtype=torch.float64)
    seen[392:] = 0
    objective = Objective(decoder, seen * images, seen_loss, extra=seen.expand_as(images))
    encoding = SOLVERS[name].encode(Penalised(objective, 1e-3))
    same(asked(SOLVERS[name], seen * images, mask=seen.tolist(), penalty=1e-3)["answers"], encoding)


@needs_node
@pytest.mark.parametrize("name", SOLVERS)
def test_on_the_toy_from_anywhere(asked, name):
    generator = torch.Generator().manual_seed(0)
    starts = 2 * torch.randn(20, 2, generator=generator, dtype=torch.float64)
    target = Toy()(torch.tensor([TOY_TRUTH], dtype=torch.float64)).sigmoid().expand(20, -1)
    encoding = SOLVERS[name].encode(Objective(Toy(), target), z0=starts)
    same(
        asked(SOLVERS[name], target, toy=True, starts=starts.tolist())["answers"], encoding, steps=False
    )  # to the rounding


@needs_node
def test_the_autoencoder_and_the_loss_in_single_precision(asked):
    _, images = problem(10)
    published = weights.read().networks
    answer = asked(UNCAPPED, images[:1])
    guessed = published["autoencoder"](published["encoder"](images[:1].float()))[0]
    assert torch.allclose(torch.tensor(answer["guess"]), guessed, atol=1e-3)
    encoding = SOLVERS["uncapped"].encode(Objective(published["decoder"], images.float()))
    losses = torch.tensor([each["loss"] for each in asked(SOLVERS["uncapped"], images)["answers"]])
    assert (losses - encoding.loss).abs().max() < 1e-3


@needs_node
@pytest.mark.parametrize("solver", [UNCAPPED, racers.everyone()["quasi-Newton"]])
def test_a_race_in_the_kernel_stands_where_the_engine_stands(asked, solver):
    """After every trial: what both homes show is the same."""
    decoder, images = problem(10)
    answer = asked(replace(solver, max_trials=40), images[:3])["answers"]
    for i, each in enumerate(answer):
        went = race(solver, Objective(decoder, images[i : i + 1]), trials=40)
        assert [frame["loss"] for frame in went.frames] == pytest.approx(each["losses"], abs=1e-6)
        assert went.status == each["status"]


@needs_node
def test_it_can_tell_a_difference(asked):
    """A sign, a factor or another rule would be seen."""
    decoder, images = problem(10)
    uncapped = SOLVERS["uncapped"]
    encoding = uncapped.encode(Objective(decoder, images))
    with pytest.raises(AssertionError):
        same(asked(replace(uncapped, kappa=1.11), images)["answers"], encoding)
    with pytest.raises(AssertionError):
        same(asked(uncapped, images.flip(1))["answers"], encoding)


def test_the_parts_make_one_module():
    source = module.source()
    assert not module.IMPORT.search(source) and "</script" not in source
    parts = {path.stem for path in module.HERE.glob("*.js")}
    assert parts == set(module.PARTS)
    for path in module.HERE.glob("*.js"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 250 and max(map(len, lines)) <= 120, path.name


def test_a_part_that_comes_too_early_is_told(monkeypatch):
    monkeypatch.setattr(module, "PARTS", module.PARTS[::-1])
    with pytest.raises(ValueError, match="does not stand before it"):
        module.source()


# --- the weights


@pytest.mark.parametrize("bits", [3, 6, 8])
def test_weights_come_back_as_close_as_their_bits_say(tmp_path, bits):
    torch.manual_seed(0)
    made, shown = weights.network([3, 7, 5]), torch.rand(2, 5)
    for layer in made[::2]:
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    inputs = {"decoder": torch.eye(3)}
    weights.write(tmp_path / "w.bin", {"decoder": made}, inputs, bits, shown, [4, 2], {"profile": "none"})
    back = weights.read(tmp_path / "w.bin")
    assert back.labels == [4, 2] and back.provenance == {"profile": "none"}
    assert (back.digits - shown).abs().max() <= 0.5 / 255 + 1e-6
    step = made[0].weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    error = (made[0].weight - back.networks["decoder"][0].weight).square().sum(dim=1, keepdim=True)
    assert (error <= 3 * (step / 2).square() * 1.001).all()  # its inputs are uncorrelated
    for old, new in zip(made[::2], back.networks["decoder"][::2], strict=True):
        assert torch.equal(old.bias, new.bias)


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_rounding_is_closest_for_uncorrelated_inputs_and_does_less_harm_on_correlated_ones(bits):
    generator = np.random.default_rng(0)
    weight, independent = generator.normal(size=(9, 12)), np.eye(12)
    correlated = generator.normal(size=(300, 12)) @ generator.normal(size=(12, 3)) @ generator.normal(size=(3, 12))
    middle = 2 ** (bits - 1) - 1
    scale, codes = weights.rounded(weight, bits, independent)
    nearest = np.clip(np.rint(weight / scale[:, None]), -middle, middle) + middle
    assert np.array_equal(codes, nearest)

    def harm(codes: np.ndarray) -> float:
        return float(np.square((scale[:, None] * (codes - float(middle)) - weight) @ correlated.T).sum())

    again, made_good = weights.rounded(weight, bits, correlated)
    assert np.array_equal(again, scale) and made_good.min() >= 0 and made_good.max() <= 2 * middle
    assert harm(made_good) < 0.25 * harm(nearest)


def test_what_no_input_reaches_is_rounded_too():
    scale, codes = weights.rounded(np.ones((2, 3)), 4, np.array([[1.0, 0.0, 0.0]]))
    assert np.allclose(scale[:, None] * (codes - 7.0), 1.0)


def test_the_published_weights_are_small_sharp_and_say_where_they_come_from():
    beside = json.loads(weights.PUBLISHED.with_suffix(".json").read_text())
    assert weights.PUBLISHED.stat().st_size <= 2**20
    provenance = weights.read().provenance
    assert provenance == {key: value for key, value in beside.items() if key != "validation_loss"}
    trained, rounded = (beside["validation_loss"][which] for which in ("trained", "rounded"))
    for name in trained:
        assert rounded[name] < 1.02 * trained[name], name
    published = weights.read()
    loss = UNCAPPED.encode(Objective(published.networks["decoder"], published.digits)).loss
    assert loss.mean() < 0.13 and published.labels == list(range(10))
    guess = published.networks["autoencoder"](published.networks["encoder"](published.digits))
    assert bce(guess, published.digits).mean() < 0.2
