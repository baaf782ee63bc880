/**
 * Cheat codes: texts that QChat plays as a joke instead of showing them. What it does to QGIS' window, or QField to the
 * phone, happens to the page here, unless the user prefers reduced motion.
 */

import { t } from "./i18n.js";
import { chirp } from "./notify.js";

const PLAYING = 3_000; // milliseconds
const WIZZ = 1_000;

const move = (className, duration = PLAYING) => () => {
  document.body.classList.add(className);
  setTimeout(() => document.body.classList.remove(className), duration);
};

const shake = move("wizz", WIZZ);

// text -> its action, which takes a function that shows a sentence
const CHEATS = new Map(Object.entries({
  givemesomecheese: move("dizzy"),
  lookattheflickofqgis: move("flick"),
  spaceandtime: move("warp"),
  wizz: () => {
    shake();
    navigator.vibrate?.(WIZZ);
  },
  qgisprolicense: (say) => say(t("pro_license")),
  iamarobot: () => chirp([220, 330, 220, 440], "square"),
  its10oclock: () => chirp([523, 659, 784, 1046], "triangle"),
}));

export const isCheat = ({ type, text }) => type === "text" && CHEATS.has(text);

export const play = ({ text }, say) => CHEATS.get(text)(say);
