/** The lobby: choice of channel and nickname, and the server's rules. */

import * as api from "./api.js";
import { guide } from "./connect.js";
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { recall, remember } from "./storage.js";
import { forgetKey, keep, key, token } from "./tokens.js";

const REMEMBERED = "gischat.nickname";
const REFRESH = 15_000; // milliseconds
const UNAUTHORIZED = 401; // to a page that has a key: it holds no more

export class Lobby {
  #onJoin;
  #limits = null;
  #timer = null;
  #words = "";

  /** `onJoin(channel, nickname, limits)`: nickname is "" when incognito, limits is the answer of /rules. */
  constructor(onJoin) {
    this.#onJoin = onJoin;
    byId("join").addEventListener("submit", (event) => this.#join(event));
    byId("retry").addEventListener("click", () => this.open());
    byId("channels").addEventListener("change", () => this.#askForToken(false));
    byId("nickname").value = recall(REMEMBERED);
    guide(() => chosen() ?? "");
  }

  get isOpen() {
    return !byId("lobby").hidden;
  }

  /** Shows the lobby, with `words` on why the user is back. Selects `channel` if it exists, else keeps the selection,
   *  since users may be faster than the server. */
  async open(words = "", channel = "") {
    document.title = "gischat";
    byId("lobby").hidden = false;
    this.#say(words);
    try {
      const [rules, channels, status] = await Promise.all([
        api.rules(),
        api.channels(),
        api.status().catch(() => null),
      ]);
      this.#fill(rules, channels, status, channel || chosen());
      this.#reveal(true);
      if (!words && channel && !channels.includes(channel)) this.#say(t("no_such_channel", { name: channel }));
      byId("nickname").focus();
      await this.#refresh();
    } catch (error) {
      if (hasKeyEnded(error)) {
        forgetKey();
        await this.open(t("key_ended"), channel);
        return;
      }
      this.#reveal(false);
      this.#say(t("unreachable"));
    }
  }

  close() {
    clearTimeout(this.#timer);
    byId("lobby").hidden = true;
  }

  /** Updates the channels' user counts and the server's health periodically while the lobby is shown. */
  async #refresh() {
    clearTimeout(this.#timer);
    const isWell = await api.isWell();
    if (!this.isOpen) return;
    const trouble = t("unwell");
    if (!isWell && !this.#words) this.#say(trouble);
    else if (isWell && this.#words === trouble) this.#say("");
    this.#timer = setTimeout(() => this.#recount(), REFRESH);
  }

  async #recount() {
    let status;
    try {
      status = await api.status();
    } catch (error) {
      if (hasKeyEnded(error) && this.isOpen) return this.open();
    }
    for (const { name, nb_connected_users: count } of status?.channels ?? []) {
      const found = [...byId("channels").querySelectorAll("input")].find(({ value }) => value === name);
      if (found) found.parentElement.querySelector("small").textContent = t("people", { count });
    }
    if (this.isOpen) await this.#refresh();
  }

  #fill(rules, channels, status, wanted) {
    this.#limits = rules;
    const present = new Map((status?.channels ?? []).map((channel) => [channel.name, channel.nb_connected_users]));
    const preset = channels.includes(wanted) ? wanted : channels[0];
    byId("channels").replaceChildren(...channels.map((name) => choice(name, present.get(name) ?? 0, name === preset)));
    byId("rules").textContent = rules.rules;
    byId("rules").lang = rules.main_lang;
    this.#limitNickname(rules);
  }

  #limitNickname({ min_author_length: least, max_author_length: most }) {
    const words = t("nickname_rule", { least, most });
    byId("nickname").pattern = `[A-Za-z0-9_\\-]{${least},${most}}`;
    byId("nickname").title = words;
    byId("nickname-hint").textContent = `${words} ${t("empty_nickname")}`;
  }

  #reveal(reachable) {
    byId("join").hidden = !reachable;
    byId("house").hidden = !reachable || !byId("rules").textContent;
    byId("connect").hidden = !reachable;
    byId("retry").hidden = reachable;
  }

  #say(words) {
    this.#words = words;
    byId("lobby-notice").textContent = words;
    byId("lobby-notice").hidden = !words;
  }

  async #join(event) {
    event.preventDefault();
    const nickname = byId("nickname").value;
    const channel = chosen();
    if (byId("token").value) keep(channel, byId("token").value);
    byId("enter").disabled = true; // until the server has answered
    const isAdmitted = await api.isAdmitted(channel);
    byId("enter").disabled = false;
    if (!isAdmitted) {
      this.askForToken(channel);
      return;
    }
    this.#askForToken(false);
    remember(REMEMBERED, nickname);
    this.#onJoin(channel, nickname, this.#limits);
  }

  /** Asks for a channel's token, or for another one if it was wrong. */
  askForToken(channel) {
    this.#say(t(token(channel) ? "wrong_token" : "private_channel"));
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

const hasKeyEnded = (error) => error.status === UNAUTHORIZED && key() !== "";

function choice(name, count, checked) {
  const radio = element("input", { type: "radio", name: "channel", value: name, checked, required: true });
  const label = element("span", { dir: "auto" }, name);
  return element("label", {}, radio, label, element("small", {}, t("people", { count })));
}
