/** The tokens of private channels: kept as long as the tab is open, and removed from the address. */

import { recallInTab, rememberInTab } from "./storage.js";

const key = (channel) => `gischat.token.${channel}`;

export const token = (channel) => recallInTab(key(channel));

/** Stores the token of a channel; "" removes it. */
export const keep = (channel, token) => rememberInTab(key(channel), token);

/** Moves a token from a link, `#channel=…&token=…`, to the storage. Fragments are not sent to any server. */
export function takeFromAddress() {
  const linked = new URLSearchParams(location.hash.slice(1));
  if (!linked.has("token")) return;
  if (linked.has("channel")) keep(linked.get("channel"), linked.get("token"));
  linked.delete("token");
  history.replaceState(null, "", `#${linked}`);
}
