/** One channel, joined: what comes is shown, what is written goes out, until the person leaves. */

import { socketUrl, users } from "./api.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { byId, counted } from "./dom.js";
import { Log } from "./log.js";
import { Outbox, uuid } from "./outbox.js";
import { People } from "./people.js";
import { quietLine, render } from "./render.js";

// How an `uncompliant` begins that refuses nothing that was sent
const ANNOUNCED = ["The server was cut off for a moment: some messages may be missing.", "Your nickname '"];

export class Room {
  #channel;
  #me;
  #onLeave;
  #people;
  #log = new Log();
  #composer;
  #outbox;
  #connection;
  #registration = null; // id of the newcomer message that has not been answered yet
  #wasHere = false;
  #hadNickname = false;
  #waits = false; // for a nickname that somebody else has
  #unread = 0;
  #listening = new AbortController();

  /** What a message changes on the page besides its line in the log: type -> function. */
  #effects = new Map(Object.entries({
    nb_users: ({ nb_users }) => this.#people.count(nb_users),
    newcomer: ({ newcomer, id }) => this.#came(newcomer, id),
    exiter: ({ exiter }) => this.#people.went(exiter),
    uncompliant: ({ reason }) => this.#refused(reason),
  }));

  /** `nickname` is "" for reading along; `limits` is the answer of /rules; `onLeave(words)` is called at the end,
   *  with the reason when it was not the person's wish. */
  constructor(channel, nickname, limits, onLeave) {
    this.#me = nickname;
    this.#channel = channel;
    this.#onLeave = onLeave;
    this.#people = new People(nickname);
    this.#composer = new Composer(limits, {
      onSend: (message) => this.#say(message),
      onProblem: (words) => this.#notice(words),
    });
    this.#listen();
    this.#show();
    this.#outbox = new Outbox({
      send: (message) => this.#connection.send(message),
      onChange: (count) => this.#waiting(count),
      onSilence: () => this.#connection.restart(),
      onGivenUp: (message) => this.#undelivered(message),
    });
    this.#connection = new Connection(socketUrl(channel), {
      onConnecting: () => this.#state("Connecting…"),
      onOpen: () => this.#opened(),
      onMessage: (message) => this.#receive(message),
      onLost: (seconds) => this.#lost(seconds),
      onRefused: (reason) => this.leave(reason),
    });
  }

  leave(words = "") {
    this.#listening.abort();
    this.#outbox.pause();
    this.#connection.close();
    this.#composer.close();
    this.#log.close();
    this.#people.close();
    byId("room").hidden = true;
    this.#onLeave(words);
  }

  #listen() {
    const { signal } = this.#listening;
    const on = (target, type, listener) => target.addEventListener(type, listener, { signal });
    on(byId("leave"), "click", () => this.leave());
    on(byId("notice-close"), "click", () => this.#notice(""));
    on(byId("people-toggle"), "click", () => this.#togglePeople());
    on(document, "visibilitychange", () => this.#title(0));
  }

  #show() {
    byId("channel-name").textContent = this.#channel;
    byId("composer").hidden = !this.#me;
    byId("reading").hidden = Boolean(this.#me);
    this.#notice("");
    this.#title(0);
    this.#togglePeople(false);
    byId("room").hidden = false;
    (this.#me ? this.#composer : byId("log")).focus();
  }

  /** Only on a narrow screen: a wide one always shows who is here. */
  #togglePeople(wanted) {
    const open = byId("people").classList.toggle("open", wanted);
    byId("people-toggle").ariaExpanded = String(open);
  }

  // The line

  #opened() {
    if (this.#wasHere) this.#note("Connected again. Messages of the meantime may be missing.");
    this.#wasHere = true;
    this.#people.load(() => users(this.#channel));
    this.#state("");
    if (this.#me) this.#register();
  }

  #register() {
    this.#registration = uuid();
    this.#waits = false;
    this.#connection.send({ type: "newcomer", id: this.#registration, newcomer: this.#me });
  }

  #lost(seconds) {
    this.#registration = null;
    this.#outbox.pause();
    this.#state(`Not connected. Trying again in ${seconds} s`, true);
  }

  #receive(message) {
    if (this.#log.hasShown(message.id)) return;
    this.#effects.get(message.type)?.(message);
    this.#outbox.settle(message.id);
    const shown = render(message, this.#view);
    if (!shown) return;
    this.#log.add(shown, message.timestamp);
    if (document.hidden) this.#title(this.#unread + 1);
  }

  get #view() {
    return {
      me: this.#me,
      quoted: (id) => this.#log.find(id),
      onReply: (entry) => this.#composer.replyTo(entry),
      onLike: ({ author, excerpt }) =>
        this.#connection.send(
          { type: "like", liker_author: this.#me, liked_author: author, message: excerpt },
        ),
    };
  }

  // Presence

  #came(nickname, id) {
    this.#people.came(nickname);
    if (id !== this.#registration) return;
    this.#registration = null;
    this.#hadNickname = true; // it is ours, so after a reconnection it is worth waiting for
    this.#state("");
    this.#outbox.resume();
  }

  #refused(reason) {
    if (ANNOUNCED.some((words) => reason.startsWith(words))) {
      this.#notice(reason);
      return;
    }
    if (this.#registration && !this.#waits) {
      this.#nicknameRefused(reason);
      return;
    }
    const message = this.#outbox.refuse();
    if (message) this.#composer.giveBack(message);
    this.#notice(reason);
  }

  /** Refused at first, the nickname is somebody else's. After a reconnection it is most likely still held by our own
   *  broken connection: the server gives it to us, under the id that we asked with, the moment it is free. */
  #nicknameRefused(reason) {
    if (!this.#hadNickname) {
      this.leave(reason);
      return;
    }
    this.#waits = true;
    this.#state("Waiting for your nickname to become free…", true);
  }

  // Talking

  #say(message) {
    this.#notice("");
    this.#log.follow();
    this.#outbox.push({ ...message, id: uuid(), author: this.#me, avatar: null });
  }

  #undelivered(message) {
    this.#composer.giveBack(message);
    this.#notice("The server has not confirmed your message: it may not have arrived.");
  }

  // Words to the person

  #state(words, wrong = false) {
    byId("connection").textContent = words;
    byId("connection").classList.toggle("wrong", wrong);
  }

  #waiting(count) {
    byId("sending").textContent = count > 0 ? `Sending ${counted(count, "message", "messages")}…` : "";
  }

  #notice(words) {
    byId("notice-text").textContent = words;
    byId("notice").hidden = !words;
  }

  #note(words) {
    const now = Math.floor(Date.now() / 1000);
    this.#log.add(quietLine({ type: "note", timestamp: now }, [words]), now);
  }

  /** The page's title counts what came while nobody looked. */
  #title(unread) {
    this.#unread = unread;
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${this.#channel} · gischat`;
  }
}
