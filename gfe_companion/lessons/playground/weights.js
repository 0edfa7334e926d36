// Reads what weights.py writes: the length of a header, the header in JSON, and the networks and digits after it.
import { Network } from "./engine.js";

export async function readWeights(compressed) {
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const view = new DataView(buffer);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;

  function floats(count) {
    const read = Float32Array.from({ length: count }, (_, i) => view.getFloat32(at + 4 * i, true));
    at += 4 * count;
    return read;
  }

  // Whole numbers of a few bits each, the lowest bits of a byte first.
  function codes(count, bits) {
    const read = new Uint16Array(count);
    let [held, has] = [0, 0];
    for (let i = 0; i < count; i++) {
      for (; has < bits; has += 8) held |= view.getUint8(at++) << has;
      read[i] = held & ((1 << bits) - 1);
      held >>>= bits;
      has -= bits;
    }
    return read;
  }

  const networks = {};
  for (const { name, sizes, bits } of header.networks) {
    const middle = 2 ** (bits - 1) - 1; // the code of zero
    const layers = sizes.slice(1).map((outputs, i) => {
      const inputs = sizes[i];
      const [scale, bias] = [floats(outputs), floats(outputs)];
      const weight = Float32Array.from(codes(inputs * outputs, bits), (code, place) => {
        return scale[Math.floor(place / inputs)] * (code - middle);
      });
      return { inputs, outputs, weight, bias };
    });
    networks[name] = new Network(layers);
  }
  const digits = header.digits.map((label) => {
    const pixels = Float64Array.from(new Uint8Array(buffer, at, header.pixels), (byte) => Math.fround(byte / 255));
    at += header.pixels;
    return { label, pixels };
  });
  return { networks, digits, provenance: header.provenance };
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0)).buffer;
}
