/** Reading of a GeoJSON file to share: its features and its CRS. Pure. */

import { positions } from "./geo.js";

export const WGS84 = "EPSG:4326";

const GEOMETRIES = new Set([
  "Point",
  "MultiPoint",
  "LineString",
  "MultiLineString",
  "Polygon",
  "MultiPolygon",
  "GeometryCollection",
]);

/**
 * Parses a file's text; returns {geojson, crs, count}, or {problem}, the key of a sentence.
 *
 * `geojson` is a FeatureCollection. `crs` is like EPSG:2154, from the member "crs" of the 2008 specification (RFC 7946
 * §4 allows only WGS 84); "" if that is missing and the coordinates cannot be WGS 84.
 */
export function understand(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    return { problem: "share_no_json" };
  }
  const features = featuresOf(content);
  if (!features) return { problem: "share_no_geojson" };
  if (features.length === 0) return { problem: "share_no_features" };
  const name = content.crs?.properties?.name;
  if (content.crs && typeof name !== "string") return { problem: "share_unknown_crs" };
  const crs = name === undefined ? (features.every(isInWgs84) ? WGS84 : "") : authid(name);
  if (crs === null) return { problem: "share_unknown_crs" };
  return { geojson: { type: "FeatureCollection", features }, crs, count: features.length };
}

function featuresOf(content) {
  const type = content?.type;
  if (type === "FeatureCollection") return Array.isArray(content.features) ? content.features : null;
  if (type === "Feature") return [content];
  return GEOMETRIES.has(type) ? [{ type: "Feature", properties: {}, geometry: content }] : null;
}

/** The "EPSG:2154" in urn:ogc:def:crs:EPSG::2154, in a URL, or in itself; null for other names. */
export function authid(name) {
  if (/\bCRS84$/.test(name)) return WGS84; // the same with longitude first, as always in GeoJSON
  const [, authority, code] =
    /^(?:urn:ogc:def:crs:|https?:\/\/www\.opengis\.net\/def\/crs\/)?([A-Za-z]+)[:/](?:[\d.]*[:/])?(\d+)$/.exec(name) ??
      [];
  return code ? `${authority.toUpperCase()}:${code}` : null;
}

function isInWgs84(feature) {
  for (const [x, y] of positions(feature?.geometry?.coordinates ?? [])) {
    if (Math.abs(x) > 180 || Math.abs(y) > 90) return false;
  }
  return true;
}
