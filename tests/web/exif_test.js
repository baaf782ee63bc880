import assert from "node:assert/strict";
import { takenAt } from "../../gischat/web/exif.js";

/** A JPEG's beginning with a position, as degrees, minutes, seconds in rationals. */
function photo({ latitude, longitude, sides = "NE", isLittle = true }) {
  const view = new DataView(new ArrayBuffer(400));
  const tiff = 12;
  view.setUint32(0, 0xffd8ffe1);
  view.setUint16(4, 380);
  view.setUint32(6, 0x45786966); // Exif
  view.setUint16(tiff, isLittle ? 0x4949 : 0x4d4d);
  view.setUint16(tiff + 2, 42, isLittle);
  view.setUint32(tiff + 4, 8, isLittle);
  const entry = (at, tag, type, count, value) => {
    view.setUint16(tiff + at, tag, isLittle);
    view.setUint16(tiff + at + 2, type, isLittle);
    view.setUint32(tiff + at + 4, count, isLittle);
    if (typeof value === "string") view.setUint8(tiff + at + 8, value.charCodeAt(0));
    else view.setUint32(tiff + at + 8, value, isLittle);
  };
  view.setUint16(tiff + 8, 1, isLittle);
  entry(10, 0x8825, 4, 1, 40);
  view.setUint16(tiff + 40, 4, isLittle);
  entry(42, 1, 2, 2, sides[0]);
  entry(54, 2, 5, 3, 120);
  entry(66, 3, 2, 2, sides[1]);
  entry(78, 4, 5, 3, 160);
  [[latitude, 120], [longitude, 160]].forEach(([rationals, at]) =>
    rationals.flat().forEach((value, index) => view.setUint32(tiff + at + 4 * index, value, isLittle))
  );
  return view.buffer;
}

const LATITUDE = [[48, 1], [30, 1], [36, 1]];
const LONGITUDE = [[2, 1], [1530, 100], [0, 0]];

Deno.test("a photograph's position is read in either order of bytes, on either side of the earth", () => {
  const [longitude, latitude] = takenAt(photo({ latitude: LATITUDE, longitude: LONGITUDE }));
  assert.ok(Math.abs(longitude - 2.255) < 1e-9 && Math.abs(latitude - 48.51) < 1e-9);
  const south = takenAt(photo({ latitude: LATITUDE, longitude: LONGITUDE, sides: "SW", isLittle: false }));
  assert.deepEqual(south, [-longitude, -latitude]);
});

Deno.test("no position, no photograph, or half of one: nothing", () => {
  const zero = [[0, 1], [0, 1], [0, 1]];
  assert.equal(takenAt(photo({ latitude: zero, longitude: zero })), null);
  assert.equal(takenAt(photo({ latitude: [[200, 1], [0, 1], [0, 1]], longitude: LONGITUDE })), null);
  assert.equal(takenAt(photo({ latitude: LATITUDE, longitude: LONGITUDE }).slice(0, 150)), null);
  assert.equal(takenAt(new TextEncoder().encode("not a picture").buffer), null);
  assert.equal(takenAt(new ArrayBuffer(0)), null);
});
