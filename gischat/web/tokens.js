/** The tokens of private channels: kept as long as the tab is open, and never left in the address. */

import { recallInTab, rememberInTab } from "./storage.js";

const key = (channel) => `gischat.token.${channel}`;

export const token = (channel) => recallInTab(key(channel));

/** Keeps the token of a channel; "" forgets it. */
export const keep = (channel, token) => rememberInTab(key(channel), token);

/** Takes a token out of a link, `#channel=…&token=…`. What stands behind the # is not sent to any server. */
export function takeFromAddress() {
  const linked = new URLSearchParams(location.hash.slice(1));
  if (!linked.has("token")) return;
  if (linked.has("channel")) keep(linked.get("channel"), linked.get("token"));
  linked.delete("token");
  history.replaceState(null, "", `#${linked}`);
}
