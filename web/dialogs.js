// The dialogs: persona and sampling, the server's key. <dialog> keeps the focus inside and closes on Esc.

import { key } from "./api.js";
import { at, element } from "./dom.js";

// name, label, hint, and the least and the most
const FIELDS = [
  ["temperature", "Temperature", "0: always the likeliest token", 0, 2],
  ["top_p", "Top-p", "share of probability kept", 0.01, 1],
  ["top_k", "Top-k", "tokens to choose from", 1, 1000],
  ["min_p", "Min-p", "minimum, relative to the likeliest", 0, 1],
  ["repetition_penalty", "Repetition penalty", "above 1: repeats less", 0.01, 10],
  ["max_tokens", "Longest reply", "in tokens", 1, 100000],
  ["seed", "Seed", "same seed, same replies", 0, 2 ** 52],
];

for (const [id, label, hint, min, max] of FIELDS) {
  const box = element("input", { id, type: "number", min, max, step: max > 10 ? 1 : "any" });
  at("fields").append(element("label", {}, label, box, element("span", { class: "hint" }, hint)));
}
const boxes = [at("system"), ...FIELDS.map(([id]) => at(id))];
at("clear").addEventListener("click", () => boxes.forEach((box) => (box.value = "")));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", ({ target }) => (target === dialog || "cancel" in target.dataset) && dialog.close());
}

/** Shows the dialog; resolves to whether it is saved. */
function asked(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "save"), { once: true });
  });
}

/** What becomes of the settings, or nothing where they stay. usual: the server's own, which an empty box leaves. */
export async function askSettings(settings, usual = {}) {
  for (const box of boxes) box.value = settings[box.id] ?? "";
  for (const [id] of FIELDS) at(id).placeholder = usual[id] ?? "";
  at("as-default").checked = false;
  if (!(await asked(at("settings")))) return;
  const filled = boxes.filter(({ value }) => value.trim());
  return Object.fromEntries(filled.map(({ id, value }) => [id, id === "system" ? value.trim() : Number(value)]));
}

let asking = null;

/** Ask for the server's key, once for all who want it; whether there is one to try. */
export function askKey() {
  if (key()) at("key-title").textContent = "The server does not take this key";
  asking ??= asked(at("key")).then((given) => {
    asking = null;
    if (given) key(at("api-key").value.trim());
    at("api-key").value = "";
    return given;
  });
  return asking;
}

let timer;

/** Say something for some seconds; `undo` is called by a button beside it. */
export function toast(words, undo) {
  const end = () => at("toast").replaceChildren();
  const button = element("button", { onclick: () => (end(), undo()) }, "Undo");
  at("toast").replaceChildren(element("span", {}, words), undo ? button : "");
  clearTimeout(timer);
  timer = setTimeout(end, undo ? 10000 : 3000);
}
