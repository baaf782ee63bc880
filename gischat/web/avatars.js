/** Avatars: our own icon for each icon name of the QGIS and QField plugins, or else a letter. */

import { drawing, element } from "./dom.js";

const CIRCLE = (x, y, radius) =>
  `M${x - radius} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;

// name on the wire -> [key of its description in the sentences, its strokes on a square of 24]
export const AVATARS = new Map([
  ["mActionArrowUp.svg", ["arrow", "M12 20V5M6 11l6-6 6 6"]],
  ["cadtools/cad.svg", ["drawing", "M4 20h16L4 6zM8 16h4l-4-4z"]],
  ["mActionCalculateField.svg", [
    "calculator",
    "M6 3h12v18H6zM9 7h6M9 12h.1M12 12h.1M15 12h.1M9 16h.1M12 16h.1M15 16h.1",
  ]],
  ["mIconCamera.svg", ["camera", `M4 8h4l1.5-2.5h5L16 8h4v11H4z${CIRCLE(12, 13, 3.2)}`]],
  ["mIconCertificate.svg", ["certificate", `${CIRCLE(12, 9, 5.5)}M9 14l-1.5 7 4.5-2.5 4.5 2.5L15 14`]],
  ["mIconInfo.svg", ["comment", "M4 5h16v11h-8l-5 4v-4H4zM8 9h8M8 12h5"]],
  ["mIconZip.svg", ["archive", "M6 3h12v18H6zM12 3v2M12 7v2M12 11v2M10.5 15h3v3h-3z"]],
  ["mIconFolder.svg", ["folder", "M3 6h6l2 2.5h10V19H3z"]],
  ["mGeoPackage.svg", ["package", "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9"]],
  ["mIconGPU.svg", ["chip", "M7 7h10v10H7zM10 10h4v4h-4zM9 3v4M15 3v4M9 17v4M15 17v4M3 9h4M3 15h4M17 9h4M17 15h4"]],
  ["mActionAddHtml.svg", ["markup", "M8 7l-5 5 5 5M16 7l5 5-5 5M13.5 5l-3 14"]],
  ["mActionPropertiesWidget.svg", ["info", `${CIRCLE(12, 12, 8.5)}M12 11v5.5M12 7.5h.1`]],
  ["mIconNetworkLogger.svg", [
    "network",
    `${CIRCLE(12, 5, 2)}${CIRCLE(5, 18, 2)}${CIRCLE(19, 18, 2)}M12 7v5M12 12l-6 4.5M12 12l6 4.5`,
  ]],
  ["mIconPostgis.svg", [
    "database",
    "M5 6c0-3.5 14-3.5 14 0v12c0 3.5-14 3.5-14 0zM5 6c0 3.5 14 3.5 14 0M5 12c0 3.5 14 3.5 14 0",
  ]],
  ["mIconPythonFile.svg", ["snake", "M16 6a4 3 0 1 0-8 0c0 5 8 3 8 8s-5 6-9 3.5M13.5 5.5h.1"]],
  ["mIconPyramid.svg", ["pyramid", "M12 4l9 15H3zM12 4l2 15M7.5 11.5h9"]],
  ["mIconRaster.svg", ["grid", "M4 4h16v16H4zM9.3 4v16M14.7 4v16M4 9.3h16M4 14.7h16"]],
  ["mIconSpatialite.svg", ["feather", "M5 20C7 11 12 5 20 4c0 8-5 12-12 12M5 20l8-9"]],
  ["mActionMapTips.svg", ["tip", "M4 5h16v10h-5l-3 4-3-4H4zM8 10h8"]],
  ["mIconXyz.svg", ["globe", `${CIRCLE(12, 12, 8.5)}M3.5 12h17M12 3.5c-5.5 5-5.5 12 0 17M12 3.5c5.5 5 5.5 12 0 17`]],
]);

/** A round icon or initial, in a colour derived from the nickname. */
export function portrait(name, avatar = null) {
  const node = element(
    "span",
    { className: "portrait", ariaHidden: "true" },
    icon(avatar) ?? [...name][0].toUpperCase(),
  );
  node.style.setProperty("--hue", hue(name));
  return node;
}

/** A nickname's colour, in degrees of the colour wheel. */
export function hue(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}

/** The icon of a name as an element, or null if we have none for it. */
export function icon(avatar) {
  const strokes = AVATARS.get(avatar)?.[1];
  return strokes ? drawing(strokes) : null;
}
