/**
 * What opens private channels: a token for each, or a key for several, which came with the instance's address. Both are
 * kept as long as the tab is open, and removed from the address bar.
 */

import { recallInTab, rememberInTab } from "./storage.js";

const KEY = "gischat.key";

const name = (channel) => `gischat.token.${channel}`;

export const token = (channel) => recallInTab(name(channel));

/** Stores the token of a channel; "" removes it. */
export const keep = (channel, token) => rememberInTab(name(channel), token);

/** The key, or "". */
export const key = () => recallInTab(KEY);
export const forgetKey = () => rememberInTab(KEY, "");

/** An address of the server's below the key, if there is one. */
export const keyed = (path) => key() ? `k/${encodeURIComponent(key())}/${path}` : path;

/** Moves a token or key from a link, `#channel=…&token=…`, `#key=…`, to the storage. Fragments are not sent to any server. */
export function takeFromAddress() {
  const linked = new URLSearchParams(location.hash.slice(1));
  if (!linked.has("token") && !linked.has("key")) return;
  if (linked.has("key")) rememberInTab(KEY, linked.get("key"));
  if (linked.has("channel") && linked.has("token")) keep(linked.get("channel"), linked.get("token"));
  linked.delete("token");
  linked.delete("key");
  const rest = String(linked);
  history.replaceState(null, "", rest ? `#${rest}` : location.pathname + location.search);
}
