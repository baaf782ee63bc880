/** The GPS position in a photo's EXIF data (Exif 2.32, §4.6.6). Pure. */

const START_OF_IMAGE = 0xffd8;
const APP1 = 0xffe1;
const START_OF_SCAN = 0xffda;
const EXIF = 0x45786966; // "Exif", followed by two zeros
const GPS = 0x8825; // the tag of the directory with the position
const [LATITUDE_SIDE, LATITUDE, LONGITUDE_SIDE, LONGITUDE] = [1, 2, 3, 4];

/** [longitude, latitude] from the beginning of a JPEG, an ArrayBuffer; null if there is none. */
export function takenAt(buffer) {
  try {
    const view = new DataView(buffer);
    const tiff = findTiff(view);
    return tiff === null ? null : position(view, tiff);
  } catch {
    return null; // truncated or damaged
  }
}

/** The offset of the TIFF in the Exif segment. */
function findTiff(view) {
  if (view.getUint16(0) !== START_OF_IMAGE) return null;
  for (let at = 2; at + 4 <= view.byteLength; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint16(at);
    if (marker === START_OF_SCAN || marker >> 8 !== 0xff) return null;
    if (marker === APP1 && view.getUint32(at + 4) === EXIF) return at + 10;
  }
  return null;
}

function position(view, tiff) {
  const isLittle = view.getUint16(tiff) === 0x4949; // "II"
  const short = (at) => view.getUint16(tiff + at, isLittle);
  const long = (at) => view.getUint32(tiff + at, isLittle);
  const entries = (at) => {
    const found = new Map(); // tag -> position of its value, or of the value's offset
    for (let index = 0; index < short(at); index++) found.set(short(at + 2 + 12 * index), at + 10 + 12 * index);
    return found;
  };
  const directory = entries(long(4)).get(GPS);
  if (directory === undefined) return null;
  const gps = entries(long(directory));
  const degrees = (tag, sideTag, negative, most) => {
    const at = long(gps.get(tag));
    const [whole, minutes, seconds] = [0, 8, 16].map((offset) => rational(long(at + offset), long(at + offset + 4)));
    const side = String.fromCharCode(view.getUint8(tiff + gps.get(sideTag)));
    const value = whole + minutes / 60 + seconds / 3600;
    return value <= most ? (side === negative ? -value : value) : NaN;
  };
  const found = [degrees(LONGITUDE, LONGITUDE_SIDE, "W", 180), degrees(LATITUDE, LATITUDE_SIDE, "S", 90)];
  // A camera without a fix writes zeros.
  return found.every(Number.isFinite) && found.some((value) => value !== 0) ? found : null;
}

/** Division, except that unknown seconds, written as 0/0, are 0. */
const rational = (numerator, denominator) => (numerator === 0 ? 0 : numerator / denominator);
