/** The tokens of private channels: kept as long as the tab is open, and never left in the address. */

const key = (channel) => `gischat.token.${channel}`;

// A browser may forbid storage; then a token lasts until the page is loaded again.
const unstored = new Map();

export function token(channel) {
  try {
    return sessionStorage.getItem(key(channel)) ?? "";
  } catch {
    return unstored.get(channel) ?? "";
  }
}

/** Keeps the token of a channel; "" forgets it. */
export function keep(channel, token) {
  try {
    if (token) sessionStorage.setItem(key(channel), token);
    else sessionStorage.removeItem(key(channel));
  } catch {
    unstored.set(channel, token);
  }
}

/** Takes a token out of a link, `#channel=…&token=…`. What stands behind the # is not sent to any server. */
export function takeFromAddress() {
  const linked = new URLSearchParams(location.hash.slice(1));
  if (!linked.has("token")) return;
  if (linked.has("channel")) keep(linked.get("channel"), linked.get("token"));
  linked.delete("token");
  history.replaceState(null, "", `#${linked}`);
}
