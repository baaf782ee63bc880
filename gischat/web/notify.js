/** How the page calls somebody who looks elsewhere: a note of the system's and a sound, where they are wanted. */

import { recall, remember } from "./storage.js";

export const NOTES = "gischat.notes";
export const SOUNDS = "gischat.sounds";
const NOTE_SECONDS = 0.12;

export const canNote = () => "Notification" in globalThis && isSecureContext;

export const wants = (what) => recall(what) === "on";

/** Keeps a wish; notes need the browser's permission, which it asks for. Whether it is granted. */
export async function wish(what, isWanted) {
  const isGranted = !isWanted || what !== NOTES || (await Notification.requestPermission()) === "granted";
  remember(what, isWanted && isGranted ? "on" : "");
  return isGranted;
}

/** Calls, by what is wanted; `onClick()` when somebody comes. */
export function call(title, body, onClick) {
  if (wants(SOUNDS)) chirp([660, 880], "sine");
  if (!wants(NOTES) || !canNote() || Notification.permission !== "granted" || document.hasFocus()) return;
  try {
    const note = new Notification(title, { body, icon: "web/icons/icon-192.png" });
    note.onclick = () => {
      globalThis.focus();
      note.close();
      onClick();
    };
  } catch {
    // Android's Chromium shows notes of service workers only.
  }
}

let context;

/** Plays some tones, in hertz, one after the other; silent where the browser has not been touched yet. */
export function chirp(tones, type) {
  if (!wants(SOUNDS)) return;
  context ??= new AudioContext();
  const gain = new GainNode(context, { gain: 0.06 });
  gain.connect(context.destination);
  tones.forEach((frequency, index) => {
    const tone = new OscillatorNode(context, { type, frequency });
    tone.connect(gain);
    tone.start(context.currentTime + index * NOTE_SECONDS);
    tone.stop(context.currentTime + (index + 1) * NOTE_SECONDS);
  });
}
