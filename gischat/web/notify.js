/** Notifications: the system's notifications and sounds, if enabled. */

import { recall, remember } from "./storage.js";

export const NOTES = "gischat.notes";
export const SOUNDS = "gischat.sounds";
const NOTE_SECONDS = 0.12;

export const canNote = () => "Notification" in globalThis && isSecureContext;

export const wants = (what) => recall(what) === "on";

/** Enables or disables notifications or sounds, asking for the browser's permission; returns whether it was granted. */
export async function wish(what, isWanted) {
  const isGranted = !isWanted || what !== NOTES || (await Notification.requestPermission()) === "granted";
  remember(what, isWanted && isGranted ? "on" : "");
  return isGranted;
}

/** Notifies the user as enabled; `onClick()` is called on a click. */
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
    // Chromium on Android shows only notifications of service workers.
  }
}

let context;

/** Plays tones, in hertz, one after the other; browsers stay silent before the first user gesture. */
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
