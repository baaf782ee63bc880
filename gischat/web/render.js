/**
 * Messages as elements: one table a kind, type -> function.
 *
 * CONTENT are the messages that somebody wrote; each function returns
 *   body      nodes to show
 *   excerpt   the message in a few words, for a quotation and for a like
 * LINES are the quiet ones between them; each function returns nodes.
 * A type in neither table is not shown. People's words reach the page through `element` alone.
 */

import { counted, element, shorten } from "./dom.js";
import { download, pictureUrl } from "./files.js";
import { portrait } from "./people.js";

const EXCERPT = 80; // characters

const CONTENT = new Map(Object.entries({
  text: ({ text }) => ({
    body: [element("p", { className: "words" }, ...linked(text))],
    excerpt: text,
  }),

  image: ({ author, image_data }) => ({
    body: [picture(author, image_data)],
    excerpt: "a picture",
  }),

  geojson: (message) => {
    const features = counted(message.geojson.features.length, "feature", "features");
    const links = [download(message.layer_name, ".geojson", JSON.stringify(withCrs(message)))];
    if (message.style !== null) links.push(download(message.layer_name, ".qml", message.style));
    return summary(`the layer “${message.layer_name}”`, `(${features}, ${crsName(message)})`, links);
  },

  crs: (message) => summary(`the coordinate reference system ${crsName(message)}`),

  bbox: (message) =>
    summary(
      "an extent",
      `x ${number(message.xmin)} … ${number(message.xmax)}, y ${number(message.ymin)} … ${number(message.ymax)}` +
        ` (${crsName(message)})`,
    ),

  position: (message) => summary("a position", `${number(message.x)}, ${number(message.y)} (${crsName(message)})`),

  model: ({ model_name, model_group, raw_xml }) =>
    summary(
      `the model “${model_name}”`,
      model_group ? `(${model_group})` : "",
      [download(model_name, ".model3", raw_xml)],
      "A model runs programs on your computer: use it only if you trust who made it.",
    ),

  script: ({ name, raw_pycode }) =>
    summary(
      `the script “${name}”`,
      "",
      [download(name, ".py", raw_pycode)],
      "A script is a program: run it only if you trust who made it.",
    ),
}));

const LINES = new Map(Object.entries({
  newcomer: ({ newcomer }) => [strong(newcomer), " joined"],
  exiter: ({ exiter }) => [strong(exiter), " left"],
  like: ({ liker_author, message }) => ["♥ ", strong(liker_author), ` likes “${shorten(message, EXCERPT)}”`],
}));

/**
 * A message as {node, entry}, or null for one that is not shown; the entry is {id, author, excerpt} of what somebody
 * wrote, and undefined for the quiet lines.
 *
 * `view` is what the rendering needs to know of the page:
 *   me                              own nickname, "" when incognito
 *   quoted(id)                      the {author, excerpt, node} of a message in sight, or undefined
 *   onReply(entry), onLike(entry)   what the buttons do
 */
export function render(message, view) {
  const content = CONTENT.get(message.type);
  if (content) return bubble(message, content(message), view);
  const line = LINES.get(message.type);
  return line ? quietLine(message, line(message)) : null;
}

/** A line between the messages, of a server's message or (type "note") of the page's own. */
export function quietLine({ type, timestamp }, nodes) {
  return { node: element("p", { className: `quiet ${type}` }, element("span", {}, ...nodes), " ", time(timestamp)) };
}

function bubble(message, { body, excerpt }, view) {
  const { id, author, timestamp } = message;
  const own = author === view.me;
  const entry = { id, author, excerpt: shorten(excerpt, EXCERPT) };
  const head = element("header", {}, strong(author), time(timestamp), ...(view.me ? [tools(entry, own, view)] : []));
  const node = element("article", { className: own ? "message own" : "message" }, portrait(author), head);
  if (message.in_reply_to_id) node.append(quotation(view.quoted(message.in_reply_to_id)));
  node.append(element("div", { className: "body" }, ...body));
  return { node, entry };
}

function quotation(quoted) {
  if (!quoted) return element("p", { className: "quotation" }, "in reply to an earlier message");
  const jump = () => {
    quoted.node.scrollIntoView({ block: "center" });
    quoted.node.focus();
  };
  const button = element("button", { type: "button", className: "quotation", onclick: jump });
  button.append(strong(quoted.author), ` ${quoted.excerpt}`);
  return button;
}

function tools(entry, own, view) {
  const reply = element("button", { type: "button", className: "tool", onclick: () => view.onReply(entry) }, "Reply");
  reply.ariaLabel = `Reply to ${entry.author}`;
  if (own) return element("span", { className: "tools" }, reply);
  const like = element("button", { type: "button", className: "tool", ariaPressed: "false" }, "Like");
  like.ariaLabel = `Like what ${entry.author} wrote`;
  like.onclick = () => {
    view.onLike(entry);
    like.disabled = true;
    like.ariaPressed = "true";
    like.textContent = "♥ Liked";
  };
  return element("span", { className: "tools" }, reply, like);
}

function summary(what, details = "", links = [], caution = "") {
  const body = [element("p", { className: "words" }, `shared ${what}${details ? ` ${details}` : ""}`)];
  if (links.length > 0) body.push(element("p", { className: "downloads" }, ...links));
  if (caution) body.push(element("p", { className: "hint" }, caution));
  return { body, excerpt: what };
}

function picture(author, data) {
  try {
    const src = pictureUrl(data);
    const image = element("img", { src, alt: `Picture from ${author}` });
    return element("a", { href: src, target: "_blank", rel: "noopener", className: "picture-link" }, image);
  } catch {
    return element("p", { className: "hint" }, "a picture that cannot be shown");
  }
}

/** The text's nodes, its web addresses as links. Nothing but http and https ever becomes one. */
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"“”]*[^\s<>"“”.,;:!?)\]}'’])/u).map((part, index) => (
    index % 2 === 0 ? part : element("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part)
  ));
}

/** The layer with its CRS written in. RFC 7946 dropped the member "crs" of the 2008 specification, but what QGIS sends
 *  is in the layer's own CRS, and QGIS and GDAL still read the member: without it the file opens in the wrong place. */
function withCrs({ geojson, crs_authid }) {
  const [authority, code] = (crs_authid ?? "").split(":");
  if (geojson.crs || !code) return geojson;
  return { ...geojson, crs: { type: "name", properties: { name: `urn:ogc:def:crs:${authority}::${code}` } } };
}

const crsName = ({ crs_authid }) => crs_authid || "a CRS of its own";

// Not in the reader's own notation: "700,000.123, 44,5" would leave open which comma parts what.
const number = (value) => String(Number(value.toFixed(6)));

const strong = (text) => element("strong", {}, text);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });

/** The moment of a message, or null: clients may send their own timestamp, and any integer is one. */
function moment(timestamp) {
  const date = new Date(timestamp * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

function time(timestamp) {
  const date = moment(timestamp);
  if (!date) return "";
  return element("time", { dateTime: date.toISOString(), title: date.toLocaleString() }, clock.format(date));
}

/** The day of a message in words, "" when unknown. */
export function day(timestamp) {
  const date = moment(timestamp);
  return date ? calendar.format(date) : "";
}
