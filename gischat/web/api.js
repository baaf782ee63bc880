/** The page's HTTP requests, and the websocket's URL. All URLs are relative to the page's, and below the key in its address. */

import { keyed, token } from "./tokens.js";

const get = (path, headers) =>
  fetch(keyed(path), {
    headers: { Accept: "application/json", ...headers },
    cache: "no-store",
  });

async function getJson(path, headers) {
  const response = await get(path, headers);
  if (!response.ok) throw Object.assign(new Error(`${path} answered ${response.status}`), { status: response.status });
  return response.json();
}

const channelPath = (channel, rest) => `channel/${encodeURIComponent(channel)}/${rest}`;

export const rules = () => getJson("rules");
export const channels = () => getJson("channels");
export const status = () => getJson("status");

/** Whether the server says that it is healthy. */
export async function isWell() {
  const [told, ready] = await Promise.all([
    status().catch(() => ({ healthy: false })),
    get("readyz").catch(() => null),
  ]);
  return told.healthy && ready?.status !== 503;
}

export const users = (channel) => getJson(channelPath(channel, "users"), authorization(channel));

/** Whether the server admits us to a channel, with our token or without one; true if it does not answer. */
export async function isAdmitted(channel) {
  const answer = await get(channelPath(channel, "users"), authorization(channel)).catch(() => null);
  return answer?.status !== 401;
}

/** The URL of a channel's websocket. With `after`, the id of the last message that we have, later ones follow. */
export function socketUrl(channel, after = null) {
  const url = new URL(keyed(channelPath(channel, "ws")), location.href);
  url.searchParams.set("types", "live_position"); // which nobody gets unasked
  if (after) url.searchParams.set("after", after);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (token(channel)) url.searchParams.set("token", token(channel)); // browsers cannot send headers here
  return url;
}

function authorization(channel) {
  if (!token(channel)) return {};
  // fetch takes a header's bytes as characters below 256: here the token's in UTF-8.
  const bytes = new TextEncoder().encode(token(channel));
  return { Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

/** The places of the stored messages, all or from `since` on: a FeatureCollection in WGS 84. */
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

/** The map's settings: {code, tiles, attribution}; `code` is null if there is no map. */
export function mapSettings() {
  asked ??= getJson("map");
  return asked.catch(() => {
    asked = undefined;
    return { code: null, tiles: null, attribution: "" };
  });
}

let imageLimit;

/** The maximum number of characters of a picture's base64. Only the API's description has it, so it is fetched when the
 *  first picture is picked. */
export function maxImageLength() {
  imageLimit ??= getJson("openapi.json").then(
    (document) => document.components.schemas.SendImage.properties.image_data.maxLength,
  );
  imageLimit.catch(() => {
    imageLimit = undefined;
  });
  return imageLimit;
}
