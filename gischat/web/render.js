/**
 * Rendering of messages as elements, by two tables: type -> function.
 *
 * CONTENT is for users' messages; each function returns
 *   body      nodes to show
 *   excerpt   a short text for quotations
 *   liked     the text by which a like refers to it, the same in every language
 * LINES is for the quiet lines between them; each function returns nodes.
 * Other types are not shown. Users' text reaches the page only through `element`.
 */

import { portrait } from "./avatars.js";
import { button, element, isolated, shorten } from "./dom.js";
import { download, pictureUrl } from "./files.js";
import { nodes, t } from "./i18n.js";
import { isMe, mentioned } from "./mentions.js";
import { time } from "./time.js";

const EXCERPT = 80; // characters
const LONGEST_READING = 200_000; // characters of a program that are shown in the page

const CONTENT = new Map(Object.entries({
  text: ({ text }, view) => ({
    body: [element("p", { className: "words", dir: "auto" }, ...linked(text, view))],
    excerpt: text,
    liked: text,
  }),

  image: ({ author, image_data }, view) => ({
    body: [picture(author, image_data, view)],
    excerpt: t("a_picture"),
    liked: "a picture",
  }),

  geojson: (message) => {
    const { layer_name, style, geojson } = message;
    const links = [download(layer_name, ".geojson", () => JSON.stringify(withCrs(message)))];
    if (style !== null) links.push(download(layer_name, ".qml", () => style));
    const values = { name: isolated(layer_name), count: geojson.features.length, crs: crsName(message) };
    return {
      body: summary("shared_layer", values, links),
      excerpt: t("the_layer", { name: layer_name }),
      liked: `the layer “${layer_name}”`,
    };
  },

  crs: (message) => ({
    body: summary("shared_crs", { crs: crsName(message) }),
    excerpt: t("the_crs", { crs: crsText(message) }),
    liked: `the coordinate reference system ${crsText(message)}`,
  }),

  bbox: (message) => ({
    body: summary("shared_extent", {
      xmin: number(message.xmin),
      xmax: number(message.xmax),
      ymin: number(message.ymin),
      ymax: number(message.ymax),
      crs: crsName(message),
    }),
    excerpt: t("an_extent"),
    liked: "an extent",
  }),

  position: (message) => ({
    body: summary("shared_position", { x: number(message.x), y: number(message.y), crs: crsName(message) }),
    excerpt: t("a_position"),
    liked: "a position",
  }),

  model: ({ model_name, model_group, raw_xml }) => ({
    body: [
      ...summary(
        model_group ? "shared_grouped_model" : "shared_model",
        { name: isolated(model_name), group: isolated(model_group ?? "") },
        [download(model_name, ".model3", () => raw_xml)],
      ),
      ...program("model_caution", raw_xml),
    ],
    excerpt: t("the_model", { name: model_name }),
    liked: `the model “${model_name}”`,
  }),

  script: ({ name, raw_pycode }) => ({
    body: [
      ...summary("shared_script", { name: isolated(name) }, [download(name, ".py", () => raw_pycode)]),
      ...program("script_caution", raw_pycode),
    ],
    excerpt: t("the_script", { name }),
    liked: `the script “${name}”`,
  }),
}));

const LINES = new Map(Object.entries({
  newcomer: ({ newcomer }) => nodes("joined", { name: strong(newcomer) }),
  exiter: ({ exiter }) => nodes("left", { name: strong(exiter) }),
  like: ({ liker_author, message }) =>
    nodes("liked", { name: strong(liker_author), words: isolated(shorten(message, EXCERPT)) }),
}));

/**
 * Renders a message as {node, entry}, or null if it is not shown; the entry is {id, author, excerpt, liked, isOwn} for
 * users' messages, and undefined for quiet lines.
 *
 * `view` is the rendering's interface to the page:
 *   me                              own nickname, "" when incognito
 *   isOwn(id)                       whether this browser sent the message
 *   judge(author)                   the verdict of `People` on the author of a new message
 *   quoted(id)                      the {author, excerpt, node} of a message in the log, or undefined
 *   knows(name)                     whether a user of that nickname is or was here
 *   onReply(entry), onLike(entry), onLink(entry), onPicture(src, alt), onJump(id)   the buttons' actions
 */
export function render(message, view) {
  const content = CONTENT.get(message.type);
  if (content) return bubble(message, content(message, view), view);
  const line = LINES.get(message.type);
  return line ? quietLine(message, line(message)) : null;
}

/** A quiet line between messages, for a message of the server or (type "note") of the page. */
export function quietLine({ type, timestamp }, children) {
  return { node: element("p", { className: `quiet ${type}` }, element("span", {}, ...children), " ", time(timestamp)) };
}

/**
 * Renders an unpublished post as an element; null if none of its messages is left. `post` is as in the outbox, plus
 * isHeld while disconnected.
 *
 * `view` as above, and onRetry(id), onEdit(id), onRemove(id).
 */
export function renderPost(post, view) {
  if (post.messages.length === 0) return null;
  const { id, refused, replyTo, messages } = post;
  const why = post.reasonKey ? t(post.reasonKey) : post.reason;
  const isWaiting = post.isHeld || Boolean(why);
  const state = element(
    "span",
    { className: "state" },
    t(refused ? "not_sent" : isWaiting ? "sent_later" : "sending_it"),
  );
  const head = element("header", {}, strong(view.me), state);
  const node = element("article", { className: `message own unsent${refused ? " refused" : ""}` });
  node.append(portrait(view.me, messages[0].avatar), head);
  if (replyTo) node.append(quotation(replyTo, view));
  const body = messages.flatMap((message) => CONTENT.get(message.type)(message, view).body);
  node.append(framed(body));
  if (why) {
    const reason = element("p", { className: "reason", role: refused ? "alert" : "status" }, why);
    if (!post.reasonKey) reason.lang = "en";
    node.append(reason);
  }
  if (refused || isWaiting) {
    const act = (key, onclick) => button("secondary small", () => onclick(id), t(key));
    const canEdit = isWritten(messages);
    const choices = [
      ...(why ? [act("retry", view.onRetry)] : []),
      ...(canEdit ? [act("edit", view.onEdit)] : []),
      act("remove", view.onRemove),
    ];
    node.append(element("div", { className: "choices" }, ...choices));
  }
  return node;
}

/** Whether all messages come from the composer, where a position belongs to a picture. */
function isWritten(messages) {
  const types = messages.map(({ type }) => type);
  const written = types.includes("image") ? ["image", "position", "text"] : ["text"];
  return types.every((type) => written.includes(type));
}

/** Marks an author whose nickname is not registered. @type {(node: HTMLElement, verdict: string[]) => void} */
export function mark(node, [verdict, nickname]) {
  const name = node.querySelector("header strong");
  name.parentElement.querySelector(".verdict")?.remove();
  if (!verdict) return;
  node.classList.toggle("lookalike", verdict === "lookalike");
  name.after(element("span", { className: "verdict" }, t(verdict, { name: nickname })));
}

/** Shows the nicknames of those who like a message. */
export function showLikes(node, names) {
  let line = node.querySelector(".likes");
  if (!line) node.append(line = element("p", { className: "likes" }));
  line.replaceChildren("♥ ", ...nodes("liked_by", { names: isolated(names.join(", ")) }));
}

function bubble(message, { body, excerpt, liked }, view) {
  const { id, author, timestamp, avatar, in_reply_to_id } = message;
  const isOwn = view.isOwn(id);
  const entry = { id, author, excerpt: shorten(excerpt, EXCERPT), liked, isOwn };
  const head = element("header", {}, strong(author), time(timestamp), tools(entry, view));
  const node = element("article", { className: isOwn ? "message own" : "message" }, portrait(author, avatar), head);
  if (in_reply_to_id) node.append(quotation(view.quoted(in_reply_to_id), view));
  node.append(framed(body));
  if (!isOwn) mark(node, view.judge(author));
  return { node, entry };
}

function framed(body) {
  const isPicture = body.some(({ className }) => className === "picture-link");
  return element("div", { className: isPicture ? "body pictured" : "body" }, ...body);
}

function quotation(quoted, view) {
  if (!quoted) return element("p", { className: "quotation" }, t("earlier_message"));
  const words = isolated(` ${quoted.excerpt}`);
  return button("quotation", () => view.onJump(quoted.id), strong(quoted.author), words);
}

function tools(entry, view) {
  const { author: name, isOwn } = entry;
  const tool = (key, onclick) => {
    const made = button("tool", onclick, t(key));
    made.ariaLabel = t(`${key}_to`, { name });
    return made;
  };
  const shown = [tool("link", () => view.onLink(entry))];
  if (view.me && !isOwn) {
    const like = tool("like", () => {
      view.onLike(entry);
      like.disabled = true;
      like.ariaPressed = "true";
      like.textContent = t("liked_it");
    });
    like.ariaPressed = "false";
    shown.unshift(like);
  }
  if (view.me) shown.unshift(tool("reply", () => view.onReply(entry)));
  return element("span", { className: "tools" }, ...shown);
}

function summary(key, values, links = []) {
  const body = [element("p", { className: "words" }, ...nodes(key, values))];
  if (links.length > 0) body.push(element("p", { className: "downloads" }, ...links));
  return body;
}

/** A program's source, to be read before it is run. */
function program(caution, code) {
  const text = element("pre", { tabIndex: 0 });
  const reading = element("details", { className: "program" }, element("summary", {}, t("read_it")), text);
  reading.ontoggle = () => {
    if (text.firstChild) return;
    text.textContent = code.slice(0, LONGEST_READING);
    if (code.length > LONGEST_READING) text.append("\n…\n", t("too_long_to_read"));
  };
  return [reading, element("p", { className: "hint" }, t(caution))];
}

function picture(author, data, view) {
  const alt = t("picture_of", { name: author });
  try {
    const src = pictureUrl(data);
    const image = element("img", { src, alt });
    return button("picture-link", () => view.onPicture(src, alt), image);
  } catch {
    return element("p", { className: "hint" }, t("unreadable_picture"));
  }
}

/** A text's nodes, with http and https URLs (and nothing else) as links. */
function linked(text, view) {
  return text.split(/(https?:\/\/[^\s<>"“”]*[^\s<>"“”.,;:!?)\]}'’])/u).flatMap((part, index) => (
    index % 2 === 0
      ? mentioned(part).map(([words, name]) => mention(words, name, view))
      : element("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part)
  ));
}

function mention(words, name, view) {
  if (name && isMe(name, view.me)) return element("mark", { className: "mention" }, words);
  return name && view.knows(name) ? element("span", { className: "mention" }, words) : words;
}

/** A layer with its CRS in the member "crs" of the 2008 specification, which RFC 7946 dropped. QGIS sends layers in
 *  their own CRS, and QGIS and GDAL still read the member: without it the file opens in the wrong place. */
function withCrs({ geojson, crs_authid }) {
  const [authority, code] = (crs_authid ?? "").split(":");
  if (geojson.crs || !code) return geojson;
  return { ...geojson, crs: { type: "name", properties: { name: `urn:ogc:def:crs:${authority}::${code}` } } };
}

const crsText = ({ crs_authid }) => crs_authid || t("own_crs");
const crsName = (message) => isolated(crsText(message));

// Not localised: in "700,000.123, 44,5" the commas would be ambiguous.
const number = (value) => String(Number(value.toFixed(6)));

const strong = (text) => element("strong", {}, isolated(text));
