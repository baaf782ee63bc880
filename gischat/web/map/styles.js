/** Styles of features: by their author's hue, their message's type, and whether they are selected. */

import CircleStyle from "ol/style/Circle.js";
import Fill from "ol/style/Fill.js";
import Stroke from "ol/style/Stroke.js";
import Style from "ol/style/Style.js";
import Text from "ol/style/Text.js";

export const FONT = "500 12px system-ui, sans-serif";
const DASHES = { bbox: [10, 6], crs: [2, 6] }; // extents and areas of use, unlike drawn features

/** A cached function from (hue, type of message) to a style. */
export function byAuthor(isDark) {
  const made = new Map();
  return (hue, type) => {
    const key = `${hue} ${type}`;
    if (!made.has(key)) made.set(key, style(hue, type, isDark));
    return made.get(key);
  };
}

const color = (hue, isDark, alpha = 1) => `hsla(${hue}, ${isDark ? "70%, 62%" : "72%, 36%"}, ${alpha})`;

function style(hue, type, isDark) {
  const line = color(hue, isDark);
  return new Style({
    fill: new Fill({ color: color(hue, isDark, type === "geojson" ? 0.22 : 0.08) }),
    stroke: new Stroke({ color: line, width: 2, lineDash: DASHES[type] }),
    image: new CircleStyle({
      radius: type === "position" ? 8 : 5,
      fill: new Fill({ color: line }),
      stroke: new Stroke({ color: isDark ? "#10181c" : "#fff", width: type === "position" ? 2.5 : 1.5 }),
    }),
  });
}

/** Somebody's live position, as faint as it is old, with its accuracy around it. */
export function person({ hue, author, opacity }, look) {
  const line = color(hue, look.isDark, opacity);
  const text = new Text({
    text: author,
    font: FONT,
    offsetY: -17,
    fill: new Fill({ color: line }),
    stroke: new Stroke({ color: look.labelHalo, width: 3 }),
  });
  const image = new CircleStyle({
    radius: 7,
    fill: new Fill({ color: line }),
    stroke: new Stroke({ color: color(hue, look.isDark, opacity * 0.35), width: 7 }),
  });
  return {
    dot: new Style({ image, text }),
    around: new Style({
      fill: new Fill({ color: color(hue, look.isDark, opacity * 0.12) }),
      stroke: new Stroke({ color: color(hue, look.isDark, opacity * 0.5), width: 1 }),
    }),
  };
}

/** The style drawn over a selected feature: a halo, and its line again. */
export function chosen(look) {
  const fill = new Fill({ color: look.halo });
  const strokes = [{ color: look.chosen, width: 6 }, { color: look.halo, width: 2.5 }];
  return strokes.map(({ color, width }) =>
    new Style({
      stroke: new Stroke({ color, width }),
      image: new CircleStyle({ radius: 9, fill, stroke: new Stroke({ color: look.chosen, width: 4 }) }),
    })
  );
}
