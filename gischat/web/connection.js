/** A websocket that comes back by itself. */

const FIRST_DELAY = 1_000; // milliseconds
const LONGEST_DELAY = 30_000;
const GOODBYE_PAUSE = 300; // milliseconds in which a close follows the `uncompliant` that tells its reason
const TOO_FAST_DELAY = 60_000;
// Close codes of RFC 6455 §7.4.1
const ABNORMAL = 1006;
const POLICY_VIOLATION = 1008; // mostly the server's word for a channel that is not for us: trying again would not help
const TOO_LARGE = 1009;
// … but after these reasons it is worth it: the connection was at fault
const TIMED_OUT = "No answer to our ping.";
const TOO_SLOW = "Too slow: what was sent to you was not read.";
const SLOW_UPLOAD = "A message has begun, and makes no progress.";
const TOO_FAST = "You went on sending too fast after you were told to wait.";
const WORTH_RETURNING = [TIMED_OUT, TOO_SLOW, SLOW_UPLOAD, TOO_FAST];

/** Exponential, and spread over half of its length: a thousand clients of a restarted server do not return at once. */
function delayBefore(attempt) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt);
  return longest * (0.5 + Math.random() / 2);
}

/** Whether the server closed because of the message that was on its way: it will not take it next time either. */
const isAboutMessage = (code, reason) => code === TOO_LARGE || reason === SLOW_UPLOAD;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #timer = null;
  #attempt = 0;
  #told = null; // an `uncompliant` that may be the server's goodbye
  #toldTimer = null;

  /**
   * Connects at once, to `url()`. Handlers:
   *   onOpen()                  connected, first or again
   *   onMessage(message)        one parsed message
   *   onLost(seconds, refused)  the connection broke; the next try is in `seconds`; `refused` are the server's words if
   *                             it was for the message on its way, else ""
   *   onConnecting()            that try begins
   *   onRefused(reason)         the server does not want this connection; it is over
   */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", this.#retryNow);
    document.addEventListener("visibilitychange", this.#retryNow);
    addEventListener("offline", this.restart);
    this.#connect();
  }

  /** Puts a message on the line; without a line it is lost, and `onLost` has said or will say so. */
  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Gives up a line that seems dead; a new one follows. Its own `close` event might take minutes to come. */
  restart = () => {
    if (this.#timer !== null) return; // given up already
    this.#abandon();
    this.#closed({ code: ABNORMAL, reason: "" });
  };

  close() {
    clearTimeout(this.#timer);
    removeEventListener("online", this.#retryNow);
    document.removeEventListener("visibilitychange", this.#retryNow);
    removeEventListener("offline", this.restart);
    this.#abandon();
  }

  #abandon() {
    this.#goodbye();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #connect() {
    this.#handlers.onConnecting();
    this.#timer = null;
    const socket = new WebSocket(this.#url());
    this.#socket = socket;
    socket.onopen = () => this.#handlers.onOpen();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => this.#closed(event);
  }

  /** The server tells why it closes in an `uncompliant`, its last message: that refuses nothing that was sent. */
  #receive(data) {
    this.#deliver(this.#goodbye()); // it was none: more has come
    const message = JSON.parse(data);
    if (message.type === "uncompliant") {
      this.#told = message;
      this.#toldTimer = setTimeout(() => this.#deliver(this.#goodbye()), GOODBYE_PAUSE);
    } else {
      this.#deliver(message);
    }
  }

  #deliver(message) {
    if (!message) return;
    this.#attempt = 0; // only now: a server that accepts and closes at once must not be hammered
    this.#handlers.onMessage(message);
  }

  /** Takes the last `uncompliant`, if it may be the goodbye. */
  #goodbye() {
    const told = this.#told;
    clearTimeout(this.#toldTimer);
    this.#told = null;
    return told;
  }

  #closed({ code, reason }) {
    const told = this.#goodbye()?.reason ?? reason;
    if (code === POLICY_VIOLATION && !WORTH_RETURNING.includes(reason)) {
      this.close();
      this.#handlers.onRefused(told);
      return;
    }
    const delay = reason === TOO_FAST ? TOO_FAST_DELAY : delayBefore(this.#attempt++);
    this.#handlers.onLost(Math.ceil(delay / 1000), isAboutMessage(code, reason) ? told : "");
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  /** The network is back, or somebody looks at the page again: no reason to wait out the delay. */
  #retryNow = () => {
    if (this.#timer === null || document.hidden) return;
    clearTimeout(this.#timer);
    this.#connect();
  };
}
