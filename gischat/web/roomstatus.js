/** What a room says of itself while it is open: its connection, what is being sent, the live position, a notice. */

import { byId, isolated } from "./dom.js";
import { nodes, t } from "./i18n.js";
import { time } from "./time.js";

export class RoomStatus {
  #isOpen = false;
  #connection = ["", false];
  #notice = "";
  #live;
  #pending;

  /** `live` is one's own live position; `pending()` the number of posts on their way. */
  constructor(live, pending) {
    this.#live = live;
    this.#pending = pending;
  }

  open() {
    this.#isOpen = true;
    this.connection(...this.#connection);
    this.notice(this.#notice);
    this.showSending();
    this.showLive();
  }

  close() {
    this.#isOpen = false;
  }

  connection(words, wrong = false) {
    this.#connection = [words, wrong];
    if (!this.#isOpen) return;
    byId("connection").textContent = words;
    byId("connection").classList.toggle("wrong", wrong);
  }

  /** Shows how many posts are on their way. */
  showSending() {
    if (!this.#isOpen) return;
    const count = this.#pending();
    byId("sending").textContent = count > 0 ? t("sending", { count }) : "";
  }

  /** Shows until when the live position is shared. */
  showLive() {
    if (!this.#isOpen) return;
    const { endsAt } = this.#live;
    byId("live").hidden = !endsAt;
    byId("live-text").replaceChildren(...nodes("live_on", { time: time(Math.ceil(endsAt / 1000)) }));
    byId("live-stop").onclick = () => this.#live.stop();
  }

  notice(words) {
    this.#notice = words;
    if (!this.#isOpen) return;
    byId("notice-text").replaceChildren(isolated(words));
    byId("notice").hidden = !words;
  }
}
