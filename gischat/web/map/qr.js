/** QR codes. A bundle of its own, built/qr.js, which nobody loads who does not want to see one. */

import { generate } from "lean-qr";

/** The code of a text as squares of side 1: {size, path}, the path as an SVG's `d`. */
export function qr(text) {
  const code = generate(text);
  let path = "";
  for (let y = 0; y < code.size; y++) {
    for (let x = 0; x < code.size; x++) if (code.get(x, y)) path += `M${x} ${y}h1v1h-1z`;
  }
  return { size: code.size, path };
}
