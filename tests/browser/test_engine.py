"""The playground's own engine in chromium ends where gfe_core ends, on the same networks; Node runs more of it."""

import base64
from dataclasses import replace

import pytest
from browsing import listened
from engines import ANSWER, SOLVERS, problem, question, same

from gfe_companion.lessons.playground import module, weights
from gfe_core.objective import Objective

ASK = f"""async ([source, weights, question]) => {{
  const engine = await import(`data:text/javascript;base64,${{source}}`);
  const {{ networks }} = await engine.readWeights(engine.fromBase64(weights));
  return ({ANSWER})(engine, networks, JSON.parse(question));
}}"""


@pytest.fixture(scope="module")
def asked(browser):
    parts = [module.source().encode(), weights.PUBLISHED.read_bytes()]
    source, packed = (base64.b64encode(part).decode() for part in parts)
    with listened(browser, "about:blank") as page:
        yield lambda solver, images: page.evaluate(ASK, [source, packed, question(solver, images)])["answers"]


@pytest.mark.parametrize("name", ["the paper's", "uncapped", "quasi-Newton"])
def test_the_same_latents_and_losses_as_gfe_core(asked, name):
    decoder, images = problem(50)
    same(asked(SOLVERS[name], images), SOLVERS[name].encode(Objective(decoder, images)))


def test_it_can_tell_a_difference(asked):
    decoder, images = problem(50)
    images, solver = images[:5], SOLVERS["uncapped"]
    with pytest.raises(AssertionError):
        same(asked(replace(solver, kappa=1.11), images), solver.encode(Objective(decoder, images)))
