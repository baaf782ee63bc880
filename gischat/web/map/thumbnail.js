/** Map thumbnails, drawn on a canvas without OpenLayers. A separate bundle, built/thumbnail.js. */

import { extent, parts, positions } from "../geo.js";
import { world } from "./world.js";

const MARGIN = 0.16; // of the picture, around the features
const SMALLEST = 18 / 360; // of the world's width: less would show no coast to recognise the place by
const STEP = 0.6; // pixels; closer vertices are left out
const DOT = 4.5; // pixels, the radius of a feature that would be too small to see
const MOST_DOTS = 200;

let land = null; // path of the land, in a world of width 1

/**
 * Draws features of GeoJSON, in WGS 84, onto a canvas.
 *
 * `look` are CSS colours: sea, land, coast, stroke, fill.
 */
export function drawThumbnail(canvas, features, look) {
  const density = Math.min(2, globalThis.devicePixelRatio || 1);
  const { clientWidth: width, clientHeight: height } = canvas;
  Object.assign(canvas, { width: width * density, height: height * density });
  const frame = framed(features, width, height);
  const context = canvas.getContext("2d");
  const toPixel = (
    scale,
  ) => [scale * density, 0, 0, scale * density, -frame.x * scale * density, -frame.y * scale * density];
  context.fillStyle = look.sea;
  context.fillRect(0, 0, canvas.width, canvas.height);
  land ??= path(world.land);
  for (const turn of [-1, 0, 1]) { // also beyond the antimeridian
    const [a, b, c, d, x, y] = toPixel(frame.scale);
    context.setTransform(a, b, c, d, x + turn * a, y);
    context.fillStyle = look.land;
    context.fill(land, "evenodd");
    context.strokeStyle = look.coast;
    context.lineWidth = 0.7 / frame.scale;
    context.stroke(land);
  }
  context.setTransform(density, 0, 0, density, 0, 0);
  Object.assign(context, { strokeStyle: look.stroke, fillStyle: look.fill, lineWidth: 1.8, lineJoin: "round" });
  const bounds = [Infinity, Infinity, -Infinity, -Infinity];
  const all = features.flatMap(({ geometry }) => [...parts(geometry)]);
  for (const part of all) drawPart(context, part, frame, bounds);
  const isSmall = Math.max(bounds[2] - bounds[0], bounds[3] - bounds[1]) < 2 * DOT;
  if (isSmall && all.length > 0) drawDot(context, bounds, look);
  else {all.filter(({ type }) => type === "Point").slice(0, MOST_DOTS).forEach((part) =>
      drawDot(context, pixelOf(part, frame), look)
    );}
}

const radians = Math.PI / 180;

/** Web Mercator; the world is a square of width 1, y downwards. */
function project([longitude, latitude]) {
  const limited = Math.max(-85.06, Math.min(85.06, latitude));
  return [longitude / 360 + 0.5, 0.5 - Math.asinh(Math.tan(limited * radians)) / (2 * Math.PI)];
}

/** The frame around features: a pixel is (projected - x) * scale. */
function framed(features, width, height) {
  const [west, south, east, north] = extent(features.map(({ geometry }) => geometry)) ?? [-180, -60, 180, 75];
  const [left, top] = project([west, north]);
  const [right, bottom] = project([east, south]);
  const across = Math.max(right - left, SMALLEST);
  const scale = (1 - 2 * MARGIN) * Math.min(width / across, height / Math.max(bottom - top, SMALLEST / 2));
  const fitted = Math.max(scale, height); // at most one world from top to bottom
  const middle = Math.max(height / fitted / 2, Math.min(1 - height / fitted / 2, (top + bottom) / 2));
  return { scale: fitted, x: (left + right) / 2 - width / fitted / 2, y: middle - height / fitted / 2, width };
}

function path(geometries) {
  const drawn = new Path2D();
  for (const geometry of geometries) {
    for (const { coordinates } of parts(geometry)) {
      for (const ring of coordinates) {
        ring.forEach((position, index) => {
          const [x, y] = project(position);
          drawn[index === 0 ? "moveTo" : "lineTo"](x, y);
        });
        drawn.closePath();
      }
    }
  }
  return drawn;
}

/** A function from a part's positions to pixels, in the copy of the world nearest to the frame. */
function projection({ coordinates }, { scale, x: left, y: top, width }) {
  const [first] = positions(coordinates);
  const turn = Math.round(left + width / 2 / scale - project(first)[0]);
  return (position) => {
    const [x, y] = project(position);
    return [(x + turn - left) * scale, (y - top) * scale];
  };
}

const pixelOf = (part, frame) => projection(part, frame)(part.coordinates);

/** Draws a part and extends `bounds` by it. */
function drawPart(context, part, frame, bounds) {
  const { type, coordinates } = part;
  const pixel = projection(part, frame);
  const lines = type === "Polygon" ? coordinates : [type === "Point" ? [coordinates] : coordinates];
  context.beginPath();
  for (const line of lines) drawLine(context, line, pixel, bounds);
  if (type === "Polygon") context.fill("evenodd");
  if (type !== "Point") context.stroke();
}

function drawLine(context, line, pixel, bounds) {
  let [lastX, lastY] = [NaN, NaN];
  line.forEach((position, index) => {
    const [x, y] = pixel(position);
    if (index > 0 && index < line.length - 1 && Math.abs(x - lastX) < STEP && Math.abs(y - lastY) < STEP) return;
    context[index === 0 ? "moveTo" : "lineTo"](x, y);
    [lastX, lastY] = [x, y];
    bounds[0] = Math.min(bounds[0], x);
    bounds[1] = Math.min(bounds[1], y);
    bounds[2] = Math.max(bounds[2], x);
    bounds[3] = Math.max(bounds[3], y);
  });
}

function drawDot(context, center, look) {
  const [x, y] = center;
  context.save();
  Object.assign(context, { fillStyle: look.stroke, strokeStyle: look.halo, lineWidth: 1.5 });
  context.beginPath();
  context.arc(x, y, DOT, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  context.restore();
}
