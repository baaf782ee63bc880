/** What the page asks the server over HTTP, and where its websocket is. */

async function getJson(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

const channelPath = (channel, rest) => `/channel/${encodeURIComponent(channel)}/${rest}`;

export const rules = () => getJson("/rules");
export const channels = () => getJson("/channels");
export const status = () => getJson("/status");
export const users = (channel) => getJson(channelPath(channel, "users"));

export function socketUrl(channel) {
  const url = new URL(channelPath(channel, "ws"), location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

let imageLimit;

/** How many characters of base64 a picture may have. Only the API's own description tells it, so it is asked when
 *  the first picture is picked, and not by those who only talk. */
export function maxImageLength() {
  imageLimit ??= getJson("/openapi.json").then(
    (document) => document.components.schemas.SendImage.properties.image_data.maxLength,
  );
  imageLimit.catch(() => { imageLimit = undefined; });
  return imageLimit;
}
