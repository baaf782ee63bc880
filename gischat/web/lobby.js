/** The way in: the channels, the house rules, a nickname. */

import * as api from "./api.js";
import { byId, counted, element } from "./dom.js";
import { keep, takeFromAddress, token } from "./tokens.js";

const REMEMBERED = "gischat.nickname";

export class Lobby {
  #onJoin;
  #limits = null;

  /** `onJoin(channel, nickname, limits)`: nickname is "" for reading along, limits is the answer of /rules. */
  constructor(onJoin) {
    this.#onJoin = onJoin;
    byId("join").addEventListener("submit", (event) => this.#join(event));
    byId("retry").addEventListener("click", () => this.open());
    byId("channels").addEventListener("change", () => this.#askForToken(false));
    addEventListener("hashchange", takeFromAddress);
    takeFromAddress();
    byId("nickname").value = recall();
  }

  /** Shows the lobby, with `words` on why one is here again. */
  async open(words = "") {
    document.title = "gischat";
    byId("lobby").hidden = false;
    this.#say(words);
    try {
      const [rules, channels, status] = await Promise.all([api.rules(), api.channels(), api.status()]);
      this.#fill(rules, channels, status);
      this.#reveal(true);
      if (!words && !status.healthy) this.#say("The server is not well just now: messages may not arrive.");
      byId("nickname").focus();
    } catch {
      this.#reveal(false);
      this.#say("The chat cannot be reached at the moment.");
    }
  }

  #fill(rules, channels, status) {
    this.#limits = rules;
    const present = new Map(status.channels.map((channel) => [channel.name, channel.nb_connected_users]));
    const wanted = chosen() ?? new URLSearchParams(location.hash.slice(1)).get("channel");
    const preset = channels.includes(wanted) ? wanted : channels[0];
    byId("channels").replaceChildren(...channels.map((name) => choice(name, present.get(name) ?? 0, name === preset)));
    byId("rules").textContent = rules.rules;
    byId("rules").lang = rules.main_lang;
    this.#limitNickname(rules);
  }

  #limitNickname({ min_author_length: least, max_author_length: most }) {
    const words = `${least} to ${most} letters, digits, “-” or “_”, without accents`;
    byId("nickname").pattern = `[A-Za-z0-9_\\-]{${least},${most}}`;
    byId("nickname").title = words;
    byId("nickname-hint").textContent = `${words}. Leave it empty to read along unseen.`;
  }

  #reveal(reachable) {
    byId("join").hidden = !reachable;
    byId("house").hidden = !reachable || !byId("rules").textContent;
    byId("retry").hidden = reachable;
  }

  #say(words) {
    byId("lobby-notice").textContent = words;
    byId("lobby-notice").hidden = !words;
  }

  async #join(event) {
    event.preventDefault();
    const nickname = byId("nickname").value;
    const channel = chosen();
    if (byId("token").value) keep(channel, byId("token").value);
    byId("enter").disabled = true; // while the server is asked, once is enough
    const isAdmitted = await api.isAdmitted(channel);
    byId("enter").disabled = false;
    if (!isAdmitted) {
      this.#refused(channel);
      return;
    }
    this.#askForToken(false);
    remember(nickname);
    history.replaceState(null, "", `#${new URLSearchParams({ channel })}`); // a reload, or a link, leads here again
    byId("lobby").hidden = true;
    this.#onJoin(channel, nickname, this.#limits);
  }

  #refused(channel) {
    this.#say(token(channel) ? "This token does not open the channel." : "This channel is private: it takes a token.");
    keep(channel, "");
    this.#askForToken(true);
  }

  #askForToken(wanted) {
    byId("token").value = "";
    byId("token-field").hidden = !wanted;
    if (wanted) byId("token").focus();
  }
}

const chosen = () => /** @type {HTMLInputElement | null} */ (document.querySelector("#channels input:checked"))?.value;

function choice(name, count, checked) {
  const radio = element("input", { type: "radio", name: "channel", value: name, checked, required: true });
  const people = counted(count, "person", "people");
  return element("label", {}, radio, element("span", {}, name), element("small", {}, people));
}

// A browser may forbid storage, by setting or in private windows; then nothing is remembered.

function recall() {
  try {
    return localStorage.getItem(REMEMBERED) ?? "";
  } catch {
    return "";
  }
}

function remember(nickname) {
  try {
    localStorage.setItem(REMEMBERED, nickname);
  } catch {
    // see above
  }
}
