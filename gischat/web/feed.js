/** The server's feed of features: tells a message's properties from a layer's own. Pure. */

// A message's properties in each of its features; the others are the layer's own. See the server's documentation.
const OF_THE_MESSAGE = ["id", "type", "author", "timestamp", "layer_name", "crs_authid"];
const PREFIX = "gischat_";

/** A layer's own properties. */
function ownProperties(properties) {
  const isOwn = (key) => {
    if (OF_THE_MESSAGE.includes(key)) return PREFIX + key in properties;
    return !(key.startsWith(PREFIX) && OF_THE_MESSAGE.includes(key.slice(PREFIX.length)));
  };
  return Object.fromEntries(Object.entries(properties).filter(([key]) => isOwn(key)));
}

/** The features of a collection by message id, each as {geometry, properties}. */
export function byMessage({ features }) {
  const found = new Map();
  for (const { geometry, properties } of features) {
    const id = properties[`${PREFIX}id`] ?? properties.id;
    if (!found.has(id)) found.set(id, []);
    found.get(id).push({ geometry, properties: ownProperties(properties) });
  }
  return found;
}
