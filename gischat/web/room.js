/** A joined channel: shows received messages and sends the user's, until the user leaves. */

import { socketUrl, users } from "./api.js";
import { isCheat, play } from "./cheats.js";
import { Draft } from "./composer.js";
import { Connection } from "./connection.js";
import { byId, isolated } from "./dom.js";
import { nodes, t } from "./i18n.js";
import { Own, Sharers } from "./live.js";
import { Log } from "./log.js";
import { isFor } from "./mentions.js";
import { call } from "./notify.js";
import { Outbox, uuid } from "./outbox.js";
import { ownIds } from "./own.js";
import { People } from "./people.js";
import { Places } from "./places.js";
import { mark, quietLine, render, renderPost, showLikes } from "./render.js";
import { positionMessage } from "./share.js";
import { time } from "./time.js";

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
  #gap = null; // the line that says that messages may be missing, while the history follows
  #avatars = new Map(); // author -> icon
  #authors = new Set(); // everyone who has sent a message
  #unjudged = []; // [author, element] of messages received before the list of users
  #likers = new Map(); // id -> nicknames
  #wanted = null; // id of the message that a link leads to
  #status = ["", false];
  #notice = "";

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
    this.people = new People(nickname, this.#avatars, () => this.#judgeAll());
    this.live = new Own({
      send: (message) => this.#isRegistered && this.#connection.send({ ...message, author: this.me }),
      onChange: () => this.#showLive(),
      onDenied: () => this.notice(t("share_not_located")),
    });
    this.#outbox = new Outbox(key, {
      send: (message) => this.#connection.send(message),
      onPost: (post) => this.#showPost(post),
      onSilence: () => this.#connection.restart(),
    });
    if (nickname) void this.#outbox.restore((id) => this.#log.hasShown(id));
    this.#connection = new Connection(() => socketUrl(channel, this.#after), {
      onConnecting: () => this.#state(t("connecting")),
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
    this.#showState();
    this.#showNotice();
    this.#showSending();
    this.#showLive();
    this.read();
  }

  close() {
    this.#isOpen = false;
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
    this.#state("");
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
    this.#state(t("not_connected", { count: seconds }), true);
  }

  #receive(message) {
    const { id, type } = message;
    if (type === "live_position") {
      this.sharers.hear(message);
      return;
    }
    if (this.#log.hasShown(id)) {
      this.#outbox.settle(id);
      this.#bridge();
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
    if (type === "like") this.#log.add(() => this.#likeOf(message), message.timestamp);
    else this.#show(message);
  }

  #show(message) {
    const isLive = !this.#isCatchingUp;
    const isOwn = ownIds.has(message.id);
    this.#log.add(() => {
      const shown = render(message, isLive ? this.#view : { ...this.#view, judge: () => ["", ""] });
      if (isLive && shown?.entry && !isOwn && !this.people.isKnown) this.#unjudged.push([message.author, shown.node]);
      if (shown) this.places.add(message, shown.node);
      return shown;
    }, message.timestamp);
    if (message.author) this.#authors.add(message.author);
    const isNews = isLive || this.#after !== null;
    if (isNews && !isOwn && message.author && (document.hidden || !this.#isOpen)) this.#announce(message);
  }

  get #view() {
    return {
      me: this.me,
      isOwn: (id) => ownIds.has(id),
      judge: (author) => this.people.judge(author),
      knows: (name) => this.#names.some((known) => known.toLowerCase() === name.toLowerCase()),
      quoted: (id) => this.#log.find(id),
      onJump: (id) => this.#log.reveal(id),
      onReply: (entry) => this.#page.composer.replyTo(entry),
      onLike: ({ author, liked }) =>
        this.#connection.send({ type: "like", liker_author: this.me, liked_author: author, message: liked }),
      onLink: (entry) => this.#copyLink(entry),
      onPicture: (src, alt) => this.#page.showPicture(src, alt),
      onRetry: (id) => this.#outbox.retry(id),
      onEdit: (id) => this.#edit(id),
      onRemove: (id) => this.#outbox.remove(id),
    };
  }

  get #names() {
    return [...new Set([...this.people.names, ...this.#authors])];
  }

  /** Nicknames that can be mentioned. */
  get others() {
    return this.#names.filter((name) => name !== this.me);
  }

  async #copyLink({ id }) {
    const link = new URL(`#${new URLSearchParams({ channel: this.channel, message: id })}`, location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      this.notice(t("link_copied"));
    } catch {
      this.notice(link); // over plain http there is no clipboard API
    }
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

  /** Shows a like at its message, or as a line of its own if that is not in the log. */
  #likeOf(like) {
    const { liker_author, message } = like;
    const isMeant = ({ isOwn, liked, excerpt }) => isOwn && [liked, excerpt].includes(message);
    const found = this.#log.findLast(isMeant);
    if (!found) return render(like, this.#view);
    const names = this.#likers.get(found.id) ?? new Set();
    this.#likers.set(found.id, names.add(liker_author));
    showLikes(found.node, [...names]);
    return null;
  }

  // Gaps

  /** The server says that messages may be missing. Its history follows: if we know any of it, nothing is missing. */
  #missed(reason) {
    const now = Math.floor(Date.now() / 1000);
    const { node } = quietLine({ type: "gap", timestamp: now }, [reason]);
    node.lang = "en";
    this.#gap = this.#isCatchingUp ? node : null;
    this.#log.add(() => ({ node }), now);
  }

  #bridge() {
    const gap = this.#gap;
    if (gap) this.#log.afterwards(() => gap.remove());
    this.#gap = null;
  }

  // Presence

  /** Shows the number of users; on each connection the first count marks the end of the history. */
  #counted(total) {
    this.people.count(total);
    if (!this.#isCatchingUp) return;
    this.#isCatchingUp = false;
    this.#gap = null;
    if (this.#wanted) this.#reveal();
  }

  #judgeAll() {
    this.#log.afterwards(() => {
      for (const [author, node] of this.#unjudged.splice(0)) mark(node, this.people.judge(author));
    });
  }

  #came(nickname, id) {
    this.people.came(nickname);
    if (id !== this.#registration) return;
    this.#registration = null;
    this.#isRegistered = true;
    this.live.say();
    this.#hadNickname = true; // it is ours, so after a reconnection we wait for it
    this.#state("");
    this.#outbox.resume();
  }

  #refused(reason) {
    if ([MISSED, GAP].includes(reason)) this.#missed(reason);
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
    this.#state(t("waiting_for_nickname"), true);
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
    const restored = { isRestored: post.at < started, timestamp: Math.floor(post.at / 1000) };
    // A copy: the log renders it later, when the post may have changed.
    const now = { ...post, messages: [...post.messages], isHeld: !this.#outbox.isReady };
    this.#log.put(post.id, () => renderPost(now, this.#view), restored);
    this.#showSending();
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

  // Status line

  #state(words, wrong = false) {
    this.#status = [words, wrong];
    this.#showState();
  }

  #showState() {
    if (!this.#isOpen) return;
    const [words, wrong] = this.#status;
    byId("connection").textContent = words;
    byId("connection").classList.toggle("wrong", wrong);
  }

  #showSending() {
    if (!this.#isOpen) return;
    const count = this.#outbox.pending;
    byId("sending").textContent = count > 0 ? t("sending", { count }) : "";
  }

  #showLive() {
    if (!this.#isOpen) return;
    const { endsAt } = this.live;
    byId("live").hidden = !endsAt;
    byId("live-text").replaceChildren(...nodes("live_on", { time: time(Math.ceil(endsAt / 1000)) }));
    byId("live-stop").onclick = () => this.live.stop();
  }

  notice(words) {
    this.#notice = words;
    this.#showNotice();
  }

  #showNotice() {
    if (!this.#isOpen) return;
    byId("notice-text").replaceChildren(isolated(this.#notice));
    byId("notice").hidden = !this.#notice;
  }
}

const started = Date.now();
