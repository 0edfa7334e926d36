// What encoding needs of a decoder, in double precision: its output, its gradient, and the loss of Sec. 4.

// Linear layers with ELU between them, as gfe_core/models.py has them; weights are stored row by row, one an output.
export class Network {
  constructor(layers) {
    this.layers = layers; // {inputs, outputs, weight, bias}
    this.latentDim = layers[0].inputs;
    this.sums = layers.map((layer) => new Float64Array(layer.outputs));
    this.values = layers.map((layer) => new Float64Array(layer.outputs));
  }

  // The output (logits of a decoder) for one input; it is overwritten by the next call.
  forward(input) {
    let entering = input;
    this.layers.forEach(({ inputs, outputs, weight, bias }, index) => {
      const sums = this.sums[index];
      for (let row = 0, at = 0; row < outputs; row++) {
        let [a, b, column] = [0, 0, 0];
        for (; column + 1 < inputs; column += 2, at += 2) {
          a += weight[at] * entering[column];
          b += weight[at + 1] * entering[column + 1];
        }
        if (column < inputs) a += weight[at++] * entering[column];
        sums[row] = a + b + bias[row];
      }
      if (index === this.layers.length - 1) return;
      entering = this.values[index];
      for (let row = 0; row < outputs; row++) entering[row] = sums[row] > 0 ? sums[row] : Math.expm1(sums[row]);
    });
    return this.sums[this.layers.length - 1];
  }

  // The gradient in the input of the last call of forward, for the gradient in its output.
  backward(gradient) {
    let leaving = gradient;
    for (let index = this.layers.length - 1; index >= 0; index--) {
      const { inputs, outputs, weight } = this.layers[index];
      const entering = new Float64Array(inputs);
      for (let row = 0, at = 0; row < outputs; row++) {
        const factor = leaving[row];
        for (let column = 0; column < inputs; column++, at++) entering[column] += factor * weight[at];
      }
      if (index > 0) {
        const sums = this.sums[index - 1];
        for (let row = 0; row < inputs; row++) if (sums[row] < 0) entering[row] *= Math.exp(sums[row]);
      }
      leaving = entering;
    }
    return leaving;
  }
}

// Notebook 01's decoder of two latents and three pixels.
export class Toy {
  constructor() {
    this.latentDim = 2;
  }

  forward([a, b]) {
    this.at = [a, b];
    return [2 * a + b * b - 1, 2 * b - a * a, a * b + a];
  }

  backward([first, second, third]) {
    const [a, b] = this.at;
    return Float64Array.of(2 * first - 2 * a * second + (b + 1) * third, 2 * b * first + 2 * second + a * third);
  }
}

export const sigmoid = (logits) => Float64Array.from(logits, (x) => 1 / (1 + Math.exp(-x)));

// The cross-entropy of one image as a function of its latent, a mean over the pixels that are seen. With a penalty it
// is l + penalty |z|^2 / 2. Passes through the decoder are counted, forward and backward.
export class Objective {
  constructor(decoder, image, { mask = null, penalty = 0 } = {}) {
    Object.assign(this, { decoder, image, mask, penalty, passes: 0 });
    this.floor = mask ? null : 0; // as in gfe_core: only the paper's own loss is known to stay above 0
    this.seen = mask ? mask.reduce((sum, weight) => sum + weight, 0) : image.length;
    this.slopes = new Float64Array(image.length);
  }

  start() {
    return new Float64Array(this.decoder.latentDim);
  }

  // The loss alone: one forward pass, after which backward() may follow.
  value(z) {
    this.passes += 1;
    const logits = this.decoder.forward(z);
    let sum = 0;
    for (let pixel = 0; pixel < logits.length; pixel++) {
      const [x, y, weight] = [logits[pixel], this.image[pixel], this.mask ? this.mask[pixel] : 1];
      const small = Math.exp(-Math.abs(x));
      sum += weight * (Math.max(x, 0) - x * y + Math.log1p(small));
      this.slopes[pixel] = (weight / this.seen) * ((x >= 0 ? 1 / (1 + small) : small / (1 + small)) - y);
    }
    return sum / this.seen + (this.penalty / 2) * dot(z, z);
  }

  // The loss, its gradient, and the square of the gradient's length: one forward and one backward pass.
  measure(z) {
    const loss = this.value(z);
    this.passes += 1;
    const gradient = this.decoder.backward(this.slopes);
    for (let i = 0; i < z.length; i++) gradient[i] += this.penalty * z[i];
    return { loss, gradient, slope: dot(gradient, gradient) };
  }
}

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
