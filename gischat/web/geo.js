/** GeoJSON geometries in WGS 84: extents, and text forms. Pure. */

/** The single points, lines and polygons of a geometry, which may be a collection or null. */
export function* parts(geometry) {
  const { type = "", coordinates = [], geometries = [] } = geometry ?? {};
  for (const member of geometries) yield* parts(member);
  if (type.startsWith("Multi")) {
    for (const part of coordinates) yield { type: type.slice("Multi".length), coordinates: part };
  } else if (coordinates.length > 0) {
    yield { type, coordinates };
  }
}

/** All positions of a geometry's coordinates, whatever their nesting. */
export function* positions(coordinates) {
  if (typeof coordinates[0] === "number") yield coordinates;
  else for (const member of coordinates) yield* positions(member);
}

/**
 * The extent of geometries, [west, south, east, north] in degrees; null if they are empty.
 *
 * Geometries that are cut at the antimeridian (RFC 7946 §3.1.9) are rejoined: then `east` is above 180.
 */
export function extent(geometries) {
  const plain = [Infinity, Infinity, -Infinity, -Infinity];
  const shifted = [Infinity, Infinity, -Infinity, -Infinity]; // with the western hemisphere east of the eastern one
  for (const geometry of geometries) {
    for (const { coordinates } of parts(geometry)) {
      const [west, south, east, north] = box(coordinates);
      enlarge(plain, west, south, east, north);
      enlarge(shifted, west < 0 ? west + 360 : west, south, west < 0 ? east + 360 : east, north);
    }
  }
  if (plain[0] === Infinity) return null;
  return shifted[2] - shifted[0] < plain[2] - plain[0] ? shifted : plain;
}

function box(coordinates) {
  const found = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of positions(coordinates)) enlarge(found, x, y, x, y);
  return found;
}

function enlarge(box, west, south, east, north) {
  if (west < box[0]) box[0] = west;
  if (south < box[1]) box[1] = south;
  if (east > box[2]) box[2] = east;
  if (north > box[3]) box[3] = north;
}

/** A representative position of a geometry: the point itself, or the middle of its extent. */
export function middle(geometry) {
  if (geometry?.type === "Point") return geometry.coordinates.slice(0, 2);
  const found = extent([geometry]);
  if (!found) return null;
  const [west, south, east, north] = found;
  return [inWorld((west + east) / 2), (south + north) / 2];
}

/** A longitude, normalised to -180 to 180. */
export const inWorld = (longitude) => ((((longitude + 180) % 360) + 360) % 360) - 180;

const DECIMALS = 7; // a centimetre

export const rounded = (degrees) => Number(degrees.toFixed(DECIMALS));

const number = (value) => String(rounded(value));

/** "2.3522, 48.8566": longitude first, as everywhere in GIS. */
export const lonLat = ([longitude, latitude]) => `${number(longitude)}, ${number(latitude)}`;

/** A geo: URI (RFC 5870), latitude first. */
export const geoUri = ([longitude, latitude]) => `geo:${number(latitude)},${number(longitude)}`;

/** Well-known text (OGC 06-103r4) in two dimensions. */
export function wkt(geometry) {
  const { type, coordinates, geometries } = geometry;
  const tag = type.toUpperCase();
  if (type === "GeometryCollection") return `${tag} ${inBrackets(geometries.map(wkt))}`;
  return `${tag} ${type === "Point" && coordinates.length > 0 ? `(${position(coordinates)})` : nested(coordinates)}`;
}

const position = ([x, y]) => `${number(x)} ${number(y)}`;
const nested = (members) =>
  inBrackets(members.map((member) => (isPosition(member) ? position(member) : nested(member))));
const isPosition = (member) => typeof member[0] === "number";
const inBrackets = (texts) => (texts.length > 0 ? `(${texts.join(", ")})` : "EMPTY");
