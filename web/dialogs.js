// The dialogs: persona and sampling, the server's key. <dialog> keeps the focus inside and closes on Esc.

import { key } from "./api.js";
import { at, element, iconButton } from "./dom.js";

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

/**
 * {settings, defaults}, what becomes of the settings here and for new chats, or nothing where they stay. model: as the
 * server tells it, whose own settings an empty box leaves. notes: as api.notes, for this chat's messages.
 */
export async function askSettings(settings, { sampling = {}, memory = false, personas = [] }, notes) {
  for (const box of boxes) box.value = settings[box.id] ?? "";
  for (const [id] of FIELDS) at(id).placeholder = sampling[id] ?? "";
  const names = personas.map(({ name }) => element("option", {}, name.replace("_", " ")));
  at("personas").replaceChildren(element("option", {}, "Take a persona …"), ...names);
  at("personas").hidden = !personas.length;
  at("personas").onchange = ({ target }) => (at("system").value = personas[target.selectedIndex - 1]?.text ?? "");
  at("memory").checked = settings.memory ?? memory;
  const noted = showNotes(settings.memory || {}, notes);
  at("as-default").checked = false;
  if (!(await asked(at("settings")))) return;
  const filled = boxes.filter(({ value }) => value.trim());
  const saved = Object.fromEntries(filled.map(({ id, value }) => [id, id === "system" ? value.trim() : Number(value)]));
  saved.first = personas.find(({ text }) => text === saved.system)?.first;
  if (!at("memory").checked) {
    if (memory) saved.memory = false;
    return { settings: saved, defaults: saved };
  }
  return { settings: { ...saved, memory: noted.memory }, defaults: { ...saved, memory: { notes: noted.lines } } };
}

/** Show the notes while memory is on. What is returned has what they are by now: memory, as a request has it; lines. */
function showNotes(memory, notes) {
  const noted = { memory, lines: memory.notes ?? [] };
  const change = async (forget, add) => {
    try {
      const told = await notes(noted.memory, { forget: forget || undefined, add: add || undefined });
      Object.assign(noted, { memory: told.memory, lines: told.notes });
      at("notes").replaceChildren(...noted.lines.map(row), row(""));
    } catch (error) {
      at("notes").replaceChildren(element("p", { class: "hint" }, `The notes cannot be shown: ${error.message}`));
    }
  };
  const row = (text) => {
    const onchange = () => change(text, box.value.trim());
    const onkeydown = (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // it would save the whole dialog
      box.blur();
    };
    const look = text ? { "aria-label": "Note" } : { "aria-label": "New note", placeholder: "Add a note" };
    const box = element("input", { ...look, value: text, maxlength: 500, dir: "auto", onchange, onkeydown });
    return element("div", {}, box, text ? iconButton("trash", `Forget: ${text}`, () => change(text)) : "");
  };
  const show = () => {
    at("notes").hidden = !at("memory").checked;
    if (at("memory").checked) change();
  };
  at("memory").onchange = show;
  show();
  return noted;
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
