/** The user's settings: language, avatar, notifications. */

import { AVATARS, icon, portrait } from "./avatars.js";
import { byId, element } from "./dom.js";
import { CHOICE, currentLanguage, LANGUAGES, t } from "./i18n.js";
import { canNote, NOTES, SOUNDS, wants, wish } from "./notify.js";
import { recall, remember } from "./storage.js";

const AVATAR = "gischat.avatar";

/** The name of the chosen icon, or null for the letter. */
export const avatar = () => recall(AVATAR) || null;

export function openSettings() {
  const languages = Object.entries(LANGUAGES).map(([value, name]) => element("option", { value, lang: value }, name));
  byId("language").replaceChildren(...languages);
  byId("language").value = currentLanguage();
  byId("language").onchange = ({ target }) => {
    remember(CHOICE, target.value);
    location.reload(); // restores the open channels
  };
  byId("avatars").replaceChildren(
    choice("", t("letter")),
    ...[...AVATARS].map(([name, [key]]) => choice(name, t(`icon_${key}`))),
  );
  byId("avatars").onchange = ({ target }) => remember(AVATAR, target.value);
  offer("notes", NOTES, canNote());
  offer("sounds", SOUNDS, true);
  byId("settings").showModal();
}

function choice(name, label) {
  const radio = element("input", {
    type: "radio",
    name: "avatar",
    value: name,
    checked: name === recall(AVATAR),
    ariaLabel: label,
  });
  const letter = recall("gischat.nickname") || "A";
  return element(
    "label",
    { title: label },
    radio,
    name ? element("span", { className: "portrait" }, icon(name)) : portrait(letter),
  );
}

function offer(id, what, isPossible) {
  const box = byId(id);
  box.checked = wants(what);
  box.parentElement.hidden = !isPossible;
  box.onchange = async () => {
    box.checked = (await wish(what, box.checked)) && box.checked;
    byId("notes-denied").hidden = box.checked || what !== NOTES || Notification.permission !== "denied";
  };
}
