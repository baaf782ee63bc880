/** The feed of features: whose message each is of, and what is the layer's own. Pure. */

// What the server says of a message in each of its features; the rest is a layer's own. See its documentation.
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

/** The features of a collection by the id of their message, each as {geometry, properties}. */
export function byMessage({ features }) {
  const found = new Map();
  for (const { geometry, properties } of features) {
    const id = properties[`${PREFIX}id`] ?? properties.id;
    if (!found.has(id)) found.set(id, []);
    found.get(id).push({ geometry, properties: ownProperties(properties) });
  }
  return found;
}
