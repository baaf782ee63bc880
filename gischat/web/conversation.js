/** The messages of a room in its log, with their likes, the judgements of their authors, and gaps. */

import { t } from "./i18n.js";
import { ownIds } from "./own.js";
import { mark, quietLine, render, renderPost, showLikes } from "./render.js";

export class Conversation {
  #log;
  #room;
  #actions;
  #authors = new Set(); // everyone who has sent a message
  #unjudged = []; // [author, element] of messages received before the list of users
  #likers = new Map(); // id -> nicknames
  #gap = null; // the line that says that messages may be missing, while the history follows

  /** `actions` are those of the view of `render.js` that change something: onReply, onLike, … */
  constructor(log, room, actions) {
    this.#log = log;
    this.#room = room;
    this.#actions = actions;
  }

  /** Everyone who is known: present, or the author of a message. */
  get names() {
    return [...new Set([...this.#room.people.names, ...this.#authors])];
  }

  /** Shows a message; the author of an older one (not `isLive`) is not judged by who is present now. */
  show(message, isLive) {
    const { people, places } = this.#room;
    const isOwn = ownIds.has(message.id);
    this.#log.add(() => {
      const shown = render(message, isLive ? this.#view : { ...this.#view, judge: () => ["", ""] });
      if (isLive && shown?.entry && !isOwn && !people.isKnown) this.#unjudged.push([message.author, shown.node]);
      if (shown) places.add(message, shown.node);
      return shown;
    }, message.timestamp);
    if (message.author) this.#authors.add(message.author);
  }

  /** Shows the state of one's own post. */
  showPost(post, { isHeld, isRestored }) {
    // A copy: the log renders it later, when the post may have changed.
    const now = { ...post, messages: [...post.messages], isHeld };
    this.#log.put(post.id, () => renderPost(now, this.#view), { isRestored, timestamp: Math.floor(post.at / 1000) });
  }

  /** Shows a like at its message, or as a line of its own if that is not in the log. */
  showLike(like) {
    this.#log.add(() => this.#likeOf(like), like.timestamp);
  }

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

  /** Judges the authors of the messages that came before the list of users. */
  judge() {
    this.#log.afterwards(() => {
      for (const [author, node] of this.#unjudged.splice(0)) mark(node, this.#room.people.judge(author));
    });
  }

  /** Shows that messages may be missing. If a history follows and we know any of it, nothing is missing: see `bridge`. */
  showGap(reason, isFollowed) {
    const now = Math.floor(Date.now() / 1000);
    const { node } = quietLine({ type: "gap", timestamp: now }, [reason]);
    node.lang = "en";
    this.#gap = isFollowed ? node : null;
    this.#log.add(() => ({ node }), now);
  }

  /** Removes the gap: a message of the history is known. */
  bridge() {
    const gap = this.#gap;
    if (gap) this.#log.afterwards(() => gap.remove());
    this.#gap = null;
  }

  /** Leaves the gap where it is: the history has ended. */
  keepGap() {
    this.#gap = null;
  }

  get #view() {
    return {
      me: this.#room.me,
      isOwn: (id) => ownIds.has(id),
      judge: (author) => this.#room.people.judge(author),
      knows: (name) => this.names.some((known) => known.toLowerCase() === name.toLowerCase()),
      quoted: (id) => this.#log.find(id),
      onJump: (id) => this.#log.reveal(id),
      onLink: (entry) => this.#copyLink(entry),
      ...this.#actions,
    };
  }

  async #copyLink({ id }) {
    const { channel } = this.#room;
    const link = new URL(`#${new URLSearchParams({ channel, message: id })}`, location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      this.#room.notice(t("link_copied"));
    } catch {
      this.#room.notice(link); // over plain http there is no clipboard API
    }
  }
}
