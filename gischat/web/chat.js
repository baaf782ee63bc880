/** The page: the lobby, the channels open in this tab, and which of them is shown. */

import * as api from "./api.js";
import { Atlas } from "./atlas.js";
import { Composer } from "./composer.js";
import { button, byId, element } from "./dom.js";
import { loadLanguage, t } from "./i18n.js";
import { keepForOffline } from "./install.js";
import { Lobby } from "./lobby.js";
import { Room } from "./room.js";
import { avatar, openSettings } from "./settings.js";
import { Share } from "./share.js";
import { recallInTab, recallJson, remember, rememberInTab } from "./storage.js";
import { takeFromAddress } from "./tokens.js";

const SESSION = "gischat.session"; // {rooms: [[channel, nickname]], active}: restored when this tab is reloaded
const RULES = "gischat.rules"; // for a reload while the server is down

class Page {
  #rooms = new Map(); // channel -> Room, in the order of opening
  #active = null;
  #limits = null;
  #nickname = null; // null before joining
  #lobby = new Lobby((channel, nickname, limits) => this.#join(channel, nickname, limits));
  composer = new Composer();
  atlas = new Atlas();
  avatar = avatar;

  async start() {
    this.#listen();
    new Share({ atlas: this.atlas, room: () => this.#active, limits: () => this.#limits });
    takeFromAddress();
    // Without a channel in the address this is a new visit, since a reload keeps it.
    const { rooms = [], active } = wanted().channel ? recallJson(SESSION, {}, recallInTab) : {};
    const limits = rooms.length > 0 ? await this.#rules() : null;
    if (!limits) {
      await this.#lobby.open("", wanted().channel ?? "");
      return;
    }
    this.#limits = limits;
    for (const [channel, nickname] of rooms) this.#add(channel, nickname, true);
    this.#nickname = rooms[0][1];
    this.show(this.#rooms.get(active) ?? [...this.#rooms.values()][0], false);
    await this.#route();
  }

  /** The server's rules, or if it is down, its last known ones. */
  async #rules() {
    const rules = await api.rules().catch(() => recallJson(RULES, null));
    if (rules) remember(RULES, JSON.stringify(rules));
    return rules;
  }

  #listen() {
    const on = (id, listener) => byId(id).addEventListener("click", listener);
    on("leave", () => this.#leave());
    on("notice-close", () => this.#active.notice(""));
    on("people-toggle", () => this.#togglePeople());
    on("more-rooms", () => void this.#openLobby());
    on("back", () => this.show(this.#active));
    on("settings-open", openSettings);
    on("lobby-settings", openSettings);
    on("large-close", () => byId("large").close());
    on("large-picture", () => byId("large").close());
    addEventListener("hashchange", () => {
      takeFromAddress();
      void this.#route();
    });
    document.addEventListener("visibilitychange", () => this.#active?.read());
    addEventListener("beforeunload", (event) => {
      if (this.#unsent > 0) event.preventDefault();
    });
  }

  get #unsent() {
    return [...this.#rooms.values()].reduce((sum, room) => sum + room.unsent, 0);
  }

  // Which room

  #join(channel, nickname, limits) {
    this.#limits = limits;
    this.#nickname = nickname;
    remember(RULES, JSON.stringify(limits));
    this.show(this.#rooms.get(channel) ?? this.#add(channel, nickname, false));
  }

  #add(channel, nickname, hadNickname) {
    const room = new Room(channel, nickname, this, hadNickname);
    this.#rooms.set(channel, room);
    return room;
  }

  /** Shows a room and, unless it was opened by the address, puts it into the address. */
  show(room, isNew = true) {
    this.#lobby.close();
    if (this.#active !== room) this.#close();
    this.#active = room;
    byId("room").hidden = false;
    this.#togglePeople(false);
    room.open();
    this.atlas.show(room);
    if (room.me) this.composer.open(room.draft, this.#limits, this.#writing(room));
    room.focus();
    if (isNew && wanted().channel !== room.channel) {
      history.pushState(null, "", `#${new URLSearchParams({ channel: room.channel })}`); // a link leads here again
    }
    this.#showRooms();
    this.#keep();
  }

  #writing(room) {
    return {
      onSend: (written) => room.say(written),
      onProblem: (words) => room.notice(words),
      names: () => room.others,
    };
  }

  #close() {
    this.#active?.close();
    this.atlas.show(null);
    this.composer.close();
    this.#active = null;
  }

  /** Follows the address, after the user went back or forward, changed it, or came by a link. */
  async #route() {
    const { channel, message } = wanted();
    if (!channel) {
      this.#leaveAll();
      return;
    }
    let room = this.#rooms.get(channel);
    if (!room && this.#nickname !== null) room = await this.#joinFromAddress(channel);
    if (!room) {
      if (this.#nickname === null) await this.#lobby.open("", channel);
      return;
    }
    if (this.#active !== room || this.#lobby.isOpen) this.show(room, false);
    if (message) room.seek(message);
  }

  async #joinFromAddress(channel) {
    const channels = await api.channels().catch(() => [channel]);
    if (!channels.includes(channel)) {
      const words = t("no_such_channel", { name: channel });
      if (this.#active) this.#active.notice(words);
      else await this.#lobby.open(words);
      return undefined;
    }
    if (await api.isAdmitted(channel)) return this.#rooms.get(channel) ?? this.#add(channel, this.#nickname, false);
    await this.#openLobby("", channel);
    this.#lobby.askForToken(channel);
    return undefined;
  }

  /** Shows the lobby, with a way back to the open rooms. */
  async #openLobby(words = "", channel = "") {
    byId("room").hidden = true;
    byId("back").hidden = !this.#active;
    byId("back").textContent = t("back_to", { name: this.#active?.channel ?? "" });
    await this.#lobby.open(words, channel);
  }

  #leave() {
    const room = this.#active;
    if (room.unsent === 0) room.leave();
    else this.#ask(t("leave_unsent", { count: room.unsent }), () => room.leave());
  }

  #leaveAll() {
    const rooms = [...this.#rooms.values()];
    this.#close();
    this.#rooms.clear();
    for (const room of rooms) room.leave();
    this.#nickname = null;
    this.#keep();
    void this.#openLobby();
  }

  onLeft(room, words) {
    if (!this.#rooms.delete(room.channel)) return;
    const isActive = this.#active === room;
    if (isActive) this.#close();
    const other = [...this.#rooms.values()].at(-1) ?? null;
    if (!other) this.#nickname = null;
    if (other && !words) {
      if (isActive) this.show(other);
    } else {
      this.#active ??= other;
      if (!other && !words) history.pushState(null, "", location.pathname);
      void this.#openLobby(words, room.channel);
    }
    this.#showRooms();
    this.#keep();
  }

  #keep() {
    const rooms = [...this.#rooms.values()].map(({ channel, me }) => [channel, me]);
    rememberInTab(SESSION, rooms.length > 0 ? JSON.stringify({ rooms, active: this.#active?.channel }) : "");
  }

  // All rooms

  onNews() {
    this.#showRooms();
  }

  #showRooms() {
    const rooms = [...this.#rooms.values()];
    byId("rooms").replaceChildren(...rooms.map((room) => this.#tab(room)));
    byId("rooms").hidden = rooms.length < 2;
    if (this.#lobby.isOpen && !this.#active) return;
    const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
    const isMentioned = rooms.some((room) => room.mentions > 0);
    const count = unread > 0 ? `(${unread}) ` : "";
    document.title = `${isMentioned ? "@ " : ""}${count}${this.#active?.channel ?? ""} · gischat`;
  }

  #tab(room) {
    const tab = button("tab", () => this.show(room), element("bdi", {}, room.channel));
    if (room === this.#active) tab.ariaCurrent = "page";
    if (room.unread > 0) {
      const badge = element(
        "span",
        { className: room.mentions > 0 ? "badge mentioned" : "badge" },
        String(room.unread),
      );
      tab.append(" ", badge, element("span", { className: "visually-hidden" }, t("unread", { count: room.unread })));
    }
    return tab;
  }

  /** Shows or hides the list of users; only on narrow screens, as wide ones always show it. */
  #togglePeople(wanted) {
    const open = byId("people").classList.toggle("open", wanted);
    byId("people-toggle").ariaExpanded = String(open);
  }

  showPicture(src, alt) {
    Object.assign(byId("large-picture-image"), { src, alt });
    byId("large").showModal();
  }

  #ask(words, onYes) {
    byId("question-words").textContent = words;
    byId("question-yes").onclick = onYes;
    byId("question").showModal();
  }
}

function wanted() {
  const linked = new URLSearchParams(location.hash.slice(1));
  return { channel: linked.get("channel"), message: linked.get("message") };
}

await loadLanguage();
await new Page().start();
await keepForOffline();
