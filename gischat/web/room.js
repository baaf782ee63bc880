/** A joined channel: shows received messages and sends the user's, until the user leaves. */

import { socketUrl, users } from "./api.js";
import { isCheat, play } from "./cheats.js";
import { Draft } from "./composer.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { Own, Sharers } from "./live.js";
import { Log } from "./log.js";
import { isFor } from "./mentions.js";
import { call } from "./notify.js";
import { Outbox, uuid } from "./outbox.js";
import { ownIds } from "./own.js";
import { People } from "./people.js";
import { Places } from "./places.js";
import { RoomStatus } from "./roomstatus.js";
import { positionMessage } from "./share.js";

// Beginnings of `uncompliant`s that refuse no message: some may be missing, or a nickname is challenged
const MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow.";
const GAP = "The server was cut off for a moment: some messages may be missing.";
const ANNOUNCED = "Your nickname '";
const NO_MESSAGE = "00000000-0000-0000-0000-000000000000"; // the id of no message
// Types that not everyone receives; the id of the last message of another type tells the server our position
const PRIVATE = new Set(["like", "nb_users", "uncompliant"]);

export class Room {
  channel;
  me;
  unread = 0;
  mentions = 0;
  draft;
  people;
  places;
  sharers = new Sharers();
  live; // one's own position
  #page;
  #log = new Log();
  #conversation;
  #outbox;
  #connection;
  #isOpen = false;
  #registration = null; // id of the newcomer message that has not been answered yet
  #isRegistered = false;
  #hadNickname;
  #waits = false; // for a nickname that another connection holds
  #lastId = null; // id of the last message that everyone receives
  #after = null; // id after which the server continues; null on the first connection
  #isCatchingUp = true; // still receiving older messages
  #avatars = new Map(); // author -> icon
  #wanted = null; // id of the message that a link leads to
  #status;

  /** Effects of messages besides their line in the log: type -> function. */
  #effects = new Map(Object.entries({
    nb_users: ({ nb_users }) => this.#counted(nb_users),
    newcomer: ({ newcomer, id }) => this.#came(newcomer, id),
    exiter: ({ exiter }) => this.people.went(exiter),
    uncompliant: ({ reason }) => this.#refused(reason),
  }));

  /**
   * `nickname` is "" when incognito; `hadNickname`: it was ours before, so we wait if it is taken. `page` has
   *   onLeft(room, words)   the room was left, with the reason if it was not the user's wish
   *   onNews(room)          unread messages, mentions or unsent posts have changed
   *   show(room)            shows the room
   *   composer, atlas, showPicture(src, alt), avatar()
   */
  constructor(channel, nickname, page, hadNickname = false) {
    this.channel = channel;
    this.me = nickname;
    this.#page = page;
    this.#hadNickname = hadNickname;
    const key = `${channel}\n${nickname}`;
    this.draft = new Draft(key);
    this.places = new Places(channel, (id) => void page.atlas.open(id));
    this.people = new People(nickname, this.#avatars, () => this.#conversation.judge());
    this.live = new Own({
      send: (message) => this.#isRegistered && this.#connection.send({ ...message, author: this.me }),
      onChange: () => this.#status.showLive(),
      onDenied: () => this.notice(t("share_not_located")),
    });
    this.#status = new RoomStatus(this.live, () => this.#outbox.pending);
    this.#conversation = new Conversation(this.#log, this, {
      onReply: (entry) => page.composer.replyTo(entry),
      onLike: ({ author, liked }) =>
        this.#connection.send({ type: "like", liker_author: this.me, liked_author: author, message: liked }),
      onPicture: (src, alt) => page.showPicture(src, alt),
      onRetry: (id) => this.#outbox.retry(id),
      onEdit: (id) => this.#edit(id),
      onRemove: (id) => this.#outbox.remove(id),
    });
    this.#outbox = new Outbox(key, {
      send: (message) => this.#connection.send(message),
      onPost: (post) => this.#showPost(post),
      onSilence: () => this.#connection.restart(),
    });
    if (nickname) void this.#outbox.restore((id) => this.#log.hasShown(id));
    this.#connection = new Connection(() => socketUrl(channel, this.#after), {
      onConnecting: () => this.#status.connection(t("connecting")),
      onOpen: () => this.#opened(),
      onMessage: (message) => this.#receive(message),
      onLost: (seconds, refused) => this.#lost(seconds, refused),
      onRefused: (reason) => this.#over(reason),
    });
  }

  // Showing

  open() {
    this.#isOpen = true;
    byId("channel-name").textContent = this.channel;
    byId("composer").hidden = !this.me;
    byId("reading").hidden = Boolean(this.me);
    this.#log.open();
    this.people.open();
    this.#status.open();
    this.read();
  }

  close() {
    this.#isOpen = false;
    this.#status.close();
    this.#log.close();
    this.people.close();
  }

  focus() {
    if (this.me) this.#page.composer.focus();
    else this.#log.focus();
  }

  /** Marks everything as read if the room is visible. */
  read() {
    if (document.hidden || !this.#isOpen) return;
    this.unread = this.mentions = 0;
    this.#page.onNews(this);
  }

  get unsent() {
    return this.#outbox.unsent;
  }

  leave() {
    this.#over("");
  }

  /** Scrolls to a message as soon as the history has been received. */
  seek(id) {
    this.#wanted = id;
    if (!this.#isCatchingUp) this.#reveal();
  }

  #reveal() {
    this.#log.afterwards(() => {
      if (this.#wanted && !this.#log.reveal(this.#wanted)) this.notice(t("no_such_message"));
      this.#wanted = null;
    });
  }

  #over(words) {
    this.live.stop();
    this.#outbox.pause();
    this.#connection.close();
    this.#log.end();
    this.people.end();
    this.#page.onLeft(this, words);
  }

  // Connection

  #opened() {
    this.#isCatchingUp = true;
    void this.people.load(() => users(this.channel));
    this.#status.connection("");
    if (this.me) this.#register();
  }

  #register() {
    this.#registration = uuid();
    this.#waits = false;
    this.#connection.send({ type: "newcomer", id: this.#registration, newcomer: this.me });
  }

  #lost(seconds, refused) {
    this.#registration = null;
    this.#isRegistered = false;
    this.sharers.forget();
    this.#after = this.#lastId ?? (this.#isCatchingUp ? null : NO_MESSAGE);
    this.#outbox.pause(refused);
    this.#status.connection(t("not_connected", { count: seconds }), true);
  }

  #receive(message) {
    const { id, type } = message;
    if (type === "live_position") {
      this.sharers.hear(message);
      return;
    }
    if (this.#log.hasShown(id)) {
      this.#outbox.settle(id);
      this.#conversation.bridge();
      return;
    }
    this.#effects.get(type)?.(message);
    if (!PRIVATE.has(type)) {
      this.#log.note(id);
      this.#lastId = id;
    }
    this.#outbox.settle(id);
    if (message.avatar) this.#avatars.set(message.author, message.avatar);
    if (isCheat(message)) {
      if (!this.#isCatchingUp && this.#isOpen) play(message, (words) => this.notice(words));
      return;
    }
    if (type === "like") this.#conversation.showLike(message);
    else this.#show(message);
  }

  #show(message) {
    const isLive = !this.#isCatchingUp;
    const isOwn = ownIds.has(message.id);
    this.#conversation.show(message, isLive);
    const isNews = isLive || this.#after !== null;
    if (isNews && !isOwn && message.author && (document.hidden || !this.#isOpen)) this.#announce(message);
  }

  /** Nicknames that can be mentioned. */
  get others() {
    return this.#conversation.names.filter((name) => name !== this.me);
  }

  /** Counts an unread message and notifies the user. */
  #announce({ type, author, text }) {
    this.unread += 1;
    if (type === "text" && isFor(text, this.me)) {
      this.mentions += 1;
      call(t("mentioned_in", { name: author, channel: this.channel }), text, () => this.#page.show(this));
    }
    this.#page.onNews(this);
  }

  // Presence

  /** Shows the number of users; on each connection the first count marks the end of the history. */
  #counted(total) {
    this.people.count(total);
    if (!this.#isCatchingUp) return;
    this.#isCatchingUp = false;
    this.#conversation.keepGap();
    if (this.#wanted) this.#reveal();
  }

  #came(nickname, id) {
    this.people.came(nickname);
    if (id !== this.#registration) return;
    this.#registration = null;
    this.#isRegistered = true;
    this.live.say();
    this.#hadNickname = true; // it is ours, so after a reconnection we wait for it
    this.#status.connection("");
    this.#outbox.resume();
  }

  #refused(reason) {
    if ([MISSED, GAP].includes(reason)) this.#conversation.showGap(reason, this.#isCatchingUp);
    else if (reason.startsWith(ANNOUNCED)) this.notice(reason);
    else if (this.#registration && !this.#waits) this.#nicknameRefused(reason);
    else if (!this.#outbox.refuse(reason)) this.notice(reason);
  }

  /** The nickname is taken. On the first connection another user has it. After a reconnection it is most likely held by
   *  our own broken connection; then the server registers us, under the id of our request, as soon as it is free. */
  #nicknameRefused(reason) {
    if (!this.#hadNickname) {
      this.#over(reason);
      return;
    }
    this.#waits = true;
    this.#status.connection(t("waiting_for_nickname"), true);
  }

  // Sending

  /** Sends a draft's content, {text, replyTo, picture}. */
  say({ text, replyTo, picture }, reasonKey = "") {
    const messages = [];
    if (picture) messages.push({ type: "image", image_data: picture.data });
    if (picture?.takenAt) messages.push(positionMessage(picture.takenAt));
    if (text) messages.push({ type: "text", text });
    this.send(messages, { replyTo, name: picture?.name, reasonKey });
  }

  /** Sends messages, {type, …} without id and author, as one post; the last one replies to an entry, if given. With a
   *  `reasonKey` the post waits in the log for its author. */
  send(messages, { replyTo = null, name = "", reasonKey = "" } = {}) {
    if (replyTo) messages.at(-1).in_reply_to_id = replyTo.id;
    this.notice("");
    this.#log.follow();
    const sender = { author: this.me, avatar: this.#page.avatar() };
    const whole = messages.map((message) => ({ ...message, ...sender, id: uuid() }));
    for (const { id } of whole) ownIds.add(id);
    const state = { refused: Boolean(reasonKey), reason: "", reasonKey, sentAt: null };
    this.#outbox.push({ id: uuid(), at: Date.now(), replyTo, name, messages: whole, ...state });
  }

  #showPost(post) {
    this.#conversation.showPost(post, { isHeld: !this.#outbox.isReady, isRestored: post.at < started });
    this.#status.showSending();
    this.#page.onNews(this);
  }

  /** Moves a post back to the composer; the current draft takes its place among the posts. */
  #edit(id) {
    const post = this.#outbox.remove(id);
    if (!post) return;
    if (!this.draft.isEmpty) this.say(this.draft.take(), "set_aside");
    const { messages, replyTo, name } = post;
    const text = messages.find(({ type }) => type === "text")?.text ?? "";
    const data = messages.find(({ type }) => type === "image")?.image_data;
    const at = messages.find(({ type }) => type === "position");
    const place = at ? [at.x, at.y] : null; // where the picture was taken
    this.draft.put({ text, replyTo, picture: data ? { data, name, place, takenAt: place } : null });
    this.draft.save();
    this.#page.composer.show();
    this.#page.composer.focus();
  }

  notice(words) {
    this.#status.notice(words);
  }
}

const started = Date.now();
