// The solvers of gfe_core for one image, as generators: each yields where it stands after every trial, from the start.
// What they yield is {trials, passes, steps, t, z, loss, accepted}; what they return is why they ended.
import { dot } from "./engine.js";

const EPSILON = 2 ** -52;
const TINY = 2 ** -1022;
const ROUNDING = 4; // units in the last place of the loss: a smaller decrease cannot be measured

// The loop of gfe_core/descent.py: every trial is kept if the loss falls (Eq. 9), and a rule says what is tried next.
function* descend(objective, start, maxTrials, rule) {
  const state = { z: Float64Array.from(start), steps: 0, ...objective.measure(start) };
  rule.begin(state);
  let [trials, accepted] = [0, true];
  let stalled = state.gradient.every((slope) => slope === 0);
  for (;;) {
    const t = rule.time ? rule.time() : state.steps;
    const { z, loss, steps } = state;
    yield { trials, passes: objective.passes, steps, t, z, loss, accepted };
    const ended = rule.ended(state) ?? (stalled ? "STALLED" : trials === maxTrials ? "BUDGET_SPENT" : null);
    if (ended) return ended;
    const { point, predicted, nothing } = rule.propose(state);
    const at = objective.measure(point);
    trials += 1;
    accepted = at.loss < state.loss && at.slope < Infinity;
    stalled = !accepted && (predicted <= ROUNDING * EPSILON * Math.abs(state.loss) || Boolean(nothing));
    rule.advance(state, point, at, accepted);
    state.steps += accepted ? 1 : 0;
  }
}

const along = (z, step, direction) => z.map((value, i) => value - step * direction[i]);

const PAPER = { tau: 1e4, beta: 0.75, kappa: 1.1, s_0: 1, s_max: 10, tolerance: 0.01, grow_accepted: false };

// The paper's solver: gfe_core/amd.py.
export function amd(objective, settings = {}, start = objective.start()) {
  const { tau, beta, kappa, s_0, s_max, tolerance, grow_accepted, max_trials } = { ...PAPER, ...settings };
  let [t, s, step, initial] = [0, s_0, Math.min(s_0, tau), 0];
  return descend(objective, start, max_trials, {
    begin: (state) => {
      initial = state.loss;
    },
    time: () => t,
    ended: ({ slope, loss }) => {
      if (t >= tau) return "REACHED_TAU";
      const gain = objective.floor === null ? tau * slope : (tau - t) * slope;
      return gain <= tolerance * (objective.floor === null ? initial - loss : loss) ? "CONVERGED" : null;
    },
    propose: ({ z, gradient, slope }) => ({
      point: along(z, step, gradient), // Eq. (10)
      predicted: step * slope,
      nothing: step <= TINY,
    }),
    advance: (state, point, at, falls) => {
      if (falls) {
        t = step >= tau - t ? tau : t + step;
        s = Math.min(Math.max(kappa * (grow_accepted ? step : s), s_0), s_max);
        step = s;
        Object.assign(state, at, { z: point });
      } else {
        step *= beta;
      }
      step = Math.min(step, tau - t); // the last step lands on tau
    },
  });
}

const WATCHED = { beta: 0.5, s_0: null, tolerance: 1e-6, patience: 5, share: 0.3, max_trials: 300 };

// BFGS under AMD's test: QuasiNewtonAMD of gfe_core/accelerated.py, with the stop of gfe_core/trials.py.
export function quasiNewton(objective, settings = {}, start = objective.start()) {
  const { beta, s_0, tolerance, patience, share, max_trials } = { ...WATCHED, ...settings };
  const d = start.length;
  let [s, fresh, flat, since, initial, earlier] = [1, true, false, 0, 0, 0];
  let inverse, direction;

  function learn(moved, turned) {
    const curvature = dot(moved, turned);
    if (!(curvature > 1e-8 * Math.sqrt(dot(moved, moved)) * Math.sqrt(dot(turned, turned)))) return;
    let swung = times(inverse, turned);
    if (fresh) {
      const scale = curvature / dot(turned, swung); // the first pair sets the scale
      inverse = inverse.map((value) => scale * value);
      swung = swung.map((value) => scale * value);
      fresh = false;
    }
    const rho = 1 / curvature;
    const weight = rho + rho * rho * dot(turned, swung);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        inverse[i * d + j] += moved[i] * (weight * moved[j] - rho * swung[j]) - swung[i] * rho * moved[j];
      }
    }
  }

  function look(loss, steps) {
    since += 1;
    const due = since >= Math.max(share * steps, patience);
    flat = due && earlier - loss < tolerance * (initial - loss);
    if (due) [earlier, since] = [loss, 0];
  }

  return descend(objective, start, max_trials, {
    begin: ({ z, loss, gradient }) => {
      [initial, earlier] = [loss, loss];
      inverse = new Float64Array(d * d);
      for (let i = 0; i < d; i++) inverse[i * d + i] = firstStep(objective, s_0, z, gradient);
      direction = times(inverse, gradient);
    },
    ended: () => (flat ? "CONVERGED" : null),
    propose: ({ z, gradient }) => ({ point: along(z, s, direction), predicted: s * dot(gradient, direction) }),
    advance: (state, point, at, falls) => {
      if (!falls) {
        s *= beta;
        flat = false;
        return;
      }
      learn(along(point, 1, state.z), along(at.gradient, 1, state.gradient));
      s = 1;
      Object.assign(state, at, { z: point });
      if (tolerance > 0) look(at.loss, state.steps + 1);
      direction = times(inverse, at.gradient);
    },
  });
}

function firstStep(objective, s_0, z, gradient) {
  if (s_0 !== null || objective.floor !== null) return s_0 ?? 100;
  const step = Math.max(Math.sqrt(dot(z, z)), 1) / Math.sqrt(dot(gradient, gradient));
  return step < Infinity ? step : 1;
}

function times(matrix, vector) {
  const d = vector.length;
  return vector.map((_, i) => dot(matrix.subarray(i * d, (i + 1) * d), vector));
}
