/** Files: pictures from and to base64, and downloads of shared content. */

import { button, element, isolated } from "./dom.js";

const SAVING = 60_000; // milliseconds until a browser has certainly begun to save a file

/** @type {[string, number[]][]} */
const SIGNATURES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
];

/** A picture's blob: URL. Only data that starts like a PNG or a JPEG gets a type, since a blob that is opened in a tab
 *  has the page's origin, and as SVG or HTML could run a script there. */
export function pictureUrl(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const found = SIGNATURES.find(([, start]) => start.every((byte, index) => bytes[index] === byte));
  if (!found) throw new Error("neither PNG nor JPEG");
  return URL.createObjectURL(new Blob([bytes], { type: found[0] }));
}

/** A button that saves the result of `content()` as `name` with `extension`. It is called on a click, since serialising
 *  a large layer takes longer than rendering everything else. Its type is one that no browser opens: see above. */
export function download(name, extension, content) {
  const file = fileName(name, extension);
  const made = button("download", () => save(file, content()), isolated(file));
  made.dataset.file = file;
  return made;
}

/** A file name that is valid on every system. */
export function fileName(name, extension) {
  const bare = name.endsWith(extension) ? name.slice(0, -extension.length) : name;
  return (bare.replace(/[^\p{L}\p{N}_ .-]+/gu, "_").replace(/^[. ]+/, "").slice(0, 80) || "shared") + extension;
}

export function save(file, content) {
  const href = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  element("a", { href, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(href), SAVING);
}

/** Revokes the blob: URLs of all pictures below `node`, which frees their memory. */
export function release(node) {
  for (const image of node.querySelectorAll("img[src^='blob:']")) URL.revokeObjectURL(image.src);
}

const base64Length = (bytes) => Math.ceil(bytes / 3) * 4;

/**
 * The base64 of a picture file, of at most `limit` characters; undefined if that is impossible.
 *
 * A file that is too large is scaled to `size` pixels, as the server would do anyhow: phones' photos are often larger
 * than a message may be.
 */
export async function pictureToSend(file, limit, size) {
  const blob = base64Length(file.size) <= limit ? file : await scaled(file, size);
  return blob && base64Length(blob.size) <= limit ? base64(blob) : undefined;
}

async function scaled(file, size) {
  const bitmap = await createImageBitmap(file).catch(() => null); // a format that only the server can read
  if (!bitmap) return undefined;
  const factor = Math.min(1, size / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas", {
    width: Math.max(1, Math.round(bitmap.width * factor)),
    height: Math.max(1, Math.round(bitmap.height * factor)),
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const type = file.type === "image/jpeg" ? "image/jpeg" : "image/png"; // others may be transparent
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.9));
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const url = /** @type {string} */ (reader.result);
      resolve(url.slice(url.indexOf(",") + 1));
    };
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
