/** What the page asks the server over HTTP, and where its websocket is. All addresses are relative to the page's. */

import { token } from "./tokens.js";

const get = (path, headers) =>
  fetch(path, {
    headers: { Accept: "application/json", ...headers },
    cache: "no-store",
  });

async function getJson(path, headers) {
  const response = await get(path, headers);
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

const channelPath = (channel, rest) => `channel/${encodeURIComponent(channel)}/${rest}`;

export const rules = () => getJson("rules");
export const channels = () => getJson("channels");
export const status = () => getJson("status");

/** Whether messages go round, as far as the server says. */
export async function isWell() {
  const [told, ready] = await Promise.all([
    status().catch(() => ({ healthy: false })),
    get("readyz").catch(() => null),
  ]);
  return told.healthy && ready?.status !== 503;
}

export const users = (channel) => getJson(channelPath(channel, "users"), authorization(channel));

/** Whether the server lets us into a channel, by the token that we have or without one. If it does not answer: yes. */
export async function isAdmitted(channel) {
  const answer = await get(channelPath(channel, "users"), authorization(channel)).catch(() => null);
  return answer?.status !== 401;
}

/** The channel's websocket; with the id of the last message that we have, what came after it follows. */
export function socketUrl(channel, after = null) {
  const url = new URL(channelPath(channel, "ws"), location.href);
  url.searchParams.set("types", "live_position"); // which nobody gets unasked
  if (after) url.searchParams.set("after", after);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (token(channel)) url.searchParams.set("token", token(channel)); // a browser lets us send no header here
  return url;
}

function authorization(channel) {
  if (!token(channel)) return {};
  // A header is bytes, which fetch takes as characters below 256: these are those of the token in UTF-8.
  const bytes = new TextEncoder().encode(token(channel));
  return { Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

/** Where stored messages are, all or those of `since` and later: a FeatureCollection in WGS 84. */
export const places = (channel, since = null) =>
  getJson(channelPath(channel, `features.geojson${since === null ? "" : `?since=${since}`}`), authorization(channel));

/** One message's place as a file, ".geojson" or ".gpkg". */
export async function placeFile(channel, id, extension) {
  const response = await get(channelPath(channel, `messages/${id}${extension}`), {
    ...authorization(channel),
    Accept: "*/*",
  });
  if (!response.ok) throw new Error(`${extension} answered ${response.status}`);
  return response.blob();
}

let asked;

/** What the map needs: {code, tiles, attribution}; `code` is null where there is no map. */
export function mapSettings() {
  asked ??= getJson("map");
  return asked.catch(() => {
    asked = undefined;
    return { code: null, tiles: null, attribution: "" };
  });
}

let imageLimit;

/** How many characters of base64 a picture may have. Only the API's own description tells it, so it is asked when
 *  the first picture is picked, and not by those who only talk. */
export function maxImageLength() {
  imageLimit ??= getJson("openapi.json").then(
    (document) => document.components.schemas.SendImage.properties.image_data.maxLength,
  );
  imageLimit.catch(() => {
    imageLimit = undefined;
  });
  return imageLimit;
}
