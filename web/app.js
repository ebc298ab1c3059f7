// The page: what is shown, what is asked, and what the buttons do.

import * as api from "./api.js";
import { connection } from "./connection.js";
import { askKey, askSettings, toast } from "./dialogs.js";
import { at, element, icon, isTouch } from "./dom.js";
import { answer } from "./reply.js";
import * as sidebar from "./sidebar.js";
import * as store from "./store.js";
import { add, choose, erase, newConversation, path, sent, titleOf } from "./tree.js";
import * as view from "./view.js";

const STARTERS = ["Hi, how are you?", "What do you like to do on weekends?", "What should I cook tonight?"];
const input = at("input");
const runs = new Map(); // conversation's id -> {conversation, stop: an AbortController} while a reply is on its way
let model = {};
let current;

// what is shown

function render() {
  const running = runs.has(current.id);
  const used = path(current).findLast((message) => message.used)?.used;
  at("title").textContent = titleOf(current);
  document.title = current.messages.length ? `${titleOf(current)} · nanoChatGPT` : "nanoChatGPT";
  at("persona").hidden = !current.settings.system;
  at("persona").lastChild.textContent = current.settings.system ?? "";
  at("empty").hidden = current.messages.length > 0;
  at("send").hidden = running;
  at("stop").hidden = !running;
  at("context").hidden = !used;
  at("context").firstChild.textContent = `${used} of ${model.context ?? "?"} tokens of context`;
  at("context").lastChild.value = used / model.context || 0;
  view.show(current, acts);
  sidebar.showList(current, acts);
}

/** Show the conversation of this address, or a new one. */
function open() {
  const id = location.hash.slice(1);
  current = runs.get(id)?.conversation ?? store.load(id) ?? begun(newConversation(store.read("defaults")));
  for (const message of runs.has(id) ? [] : current.messages.filter(view.isLive)) {
    Object.assign(message, { state: "broken", note: "The connection ended during this reply." });
  }
  input.value = store.read("drafts", {})[draftName()] ?? "";
  view.grow(input);
  render();
  view.toEnd();
}

/** The conversation; before the user speaks, what the bot says first by its persona is all of it. */
function begun(conversation) {
  const { messages, settings } = conversation;
  if (messages.some(({ role }) => role === "user")) return conversation;
  for (const message of [...messages]) erase(conversation, message);
  if (settings.first) add(conversation, undefined, "assistant", settings.first);
  return conversation;
}

function go(id) {
  history.pushState(null, "", id ? `#${id}` : location.pathname);
  open();
}

function newChat() {
  go();
  sidebar.leaveOnPhone();
  input.focus();
}

const draftName = () => (current.messages.length ? current.id : "new");

let keeping; // the timer of keepDraft

/** Keep what is being written, a moment after the last key. */
function keepDraftSoon() {
  clearTimeout(keeping);
  keeping = setTimeout(keepDraft, 300);
}

function keepDraft() {
  clearTimeout(keeping);
  store.write("drafts", { ...store.read("drafts"), [draftName()]: input.value || undefined });
}

// what is asked

/** Have the model answer `question`, a message that is shown, or go on with `begun`, a reply to it that was cut. */
async function ask(question, begun) {
  stop();
  const conversation = current;
  const { system, first, seed, ...sampling } = conversation.settings;
  const messages = sent(conversation, begun ?? question);
  const tries = conversation.messages.filter(({ parent }) => parent === question.id).length;
  const body = { messages, truncation: "auto", ...model.talk, ...sampling };
  if (seed >= 0) body.seed = seed + messages.length + 1000 * tries; // each turn and each try has its own
  const reply = Object.assign(begun ?? add(conversation, question, "assistant", ""), { state: "waiting", cut: false });
  const run = { conversation, stop: new AbortController() };
  let saved = 0;
  runs.set(conversation.id, run);
  const changed = () => {
    view.update(reply);
    if (Date.now() < saved + 1000) return;
    keep(conversation); // a page that is closed keeps the beginning
    saved = Date.now();
  };
  changed();
  render();
  view.toEnd();
  await answer(reply, body, run.stop.signal, changed, askKey);
  if (runs.get(conversation.id) === run) runs.delete(conversation.id);
  keep(conversation);
  if (conversation === current) render();
}

function keep(conversation) {
  store.save(conversation);
}

function send(text) {
  if (!text.trim() || runs.has(current.id)) return;
  if (text === input.value) input.value = ""; // a starter leaves what is being written
  keepDraft();
  const question = add(current, path(current).at(-1), "user", text.trim());
  view.grow(input);
  if (location.hash.slice(1) !== current.id) history.pushState(null, "", `#${current.id}`);
  ask(question);
}

function stop() {
  runs.get(current.id)?.stop.abort();
  runs.delete(current.id);
}

function halt() {
  stop();
  input.focus();
}

// what can be done with a message, and with a conversation

const parentOf = ({ parent }) => current.messages.find(({ id }) => id === parent);
const acts = {
  retry: (message) => ask(parentOf(message)),
  goOn: (message) => ask(parentOf(message), message),
  rewrite(message, text) {
    const { content } = message;
    const before = sent(current, parentOf(message));
    Object.assign(message, { content: text, state: "done", note: "", cut: false });
    keep(current);
    render();
    if (content && text !== content) {
      api.feedback(before, content, { edit: text }).catch((error) => toast(`Not sent: ${error.message}`));
    }
  },
  erase(message) {
    stop();
    const before = JSON.stringify(current);
    const conversation = current;
    erase(conversation, message);
    keep(conversation);
    render();
    toast("Deleted.", () => {
      store.restore(JSON.parse(before));
      if (conversation === current) open();
    });
  },
  edit: (message, text) => ask(add(current, parentOf(message), "user", text)),
  show(message) {
    stop();
    choose(current, message);
    keep(current);
    render();
  },
  async rate(message, verdict) {
    const conversation = current;
    try {
      await api.feedback(sent(conversation, parentOf(message)), message.content, { verdict });
      message.verdict = verdict;
      toast(verdict ? "Thank you." : "Taken back.");
    } catch (error) {
      toast(`Not sent: ${error.message}`);
    }
    keep(conversation);
    view.update(message);
  },
  rename: (conversation, title) => change(conversation, { title: title || conversation.title }),
  pin: (conversation) => change(conversation, { pinned: !conversation.pinned }),
  remove(conversation) {
    const { id } = conversation;
    runs.get(id)?.stop.abort();
    store.remove(id);
    if (id === current.id) newChat();
    else render();
    toast(`Deleted: ${titleOf(conversation)}`, () => {
      store.revive(id);
      keep(conversation);
      go(id);
    });
  },
};

/** Change something of a conversation in the list. */
function change(conversation, more) {
  keep(Object.assign(conversation.id === current.id ? current : conversation, more));
  render();
}

async function editSettings() {
  const conversation = current;
  const said = sent(conversation).filter(({ role }) => role !== "system");
  const saved = await askSettings(conversation.settings, model, (memory, change) => api.notes(said, memory, change));
  if (!saved) return;
  conversation.settings = saved.settings;
  if (at("as-default").checked) store.write("defaults", saved.defaults);
  if (begun(conversation).messages.some(({ role }) => role === "user")) keep(conversation);
  render();
}

function download(extension, text, title = titleOf(current)) {
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);
  element("a", { href: URL.createObjectURL(new Blob([text])), download: `${name}.${extension}` }).click();
}

async function importFile() {
  const [file] = at("file").files;
  at("files").close();
  try {
    const found = store.imported(await file.text());
    found.forEach(store.save);
    go(found[0].id);
    toast(`${found.length} imported.`);
  } catch (error) {
    toast(error.message);
  }
  at("file").value = "";
}

// the server

async function greet() {
  try {
    model = await api.model();
  } catch (error) {
    if (error.gone) connection.lost();
    if (error.status === 401 && (await askKey())) await greet();
    return;
  }
  at("model").textContent = model.name;
  at("about").textContent = `You talk to ${model.name}. It is small and makes small talk: nothing it says is a fact.`;
  render();
}

connection.addEventListener("change", () => {
  const { gone, wait } = connection;
  const wasGone = !at("trouble").hidden;
  at("trouble").hidden = !gone;
  at("again").textContent = `Trying again in ${wait} s.`;
  if (wasGone && !gone) {
    toast("The server is back.");
    greet();
  }
});

// the buttons and the keys

function toggleTheme() {
  const { dataset } = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  if (dataset.theme && dataset.theme !== system) delete dataset.theme; // follow the system again
  else dataset.theme = system === "dark" ? "light" : "dark";
  store.write("theme", dataset.theme);
}

addEventListener("keydown", (event) => {
  if (view.composes(event)) return;
  const command = event.ctrlKey || event.metaKey ? "ctrl " : "";
  const pressed = command + (event.shiftKey ? "shift " : "") + event.key.toLowerCase();
  if (pressed === "escape" && runs.has(current.id) && !document.querySelector(":modal")) {
    halt();
  } else if (pressed === "ctrl shift o") {
    event.preventDefault();
    newChat();
  } else if (pressed === "ctrl k") {
    event.preventDefault();
    sidebar.toggleMenu(true);
    at("search").focus();
  } else if (event.target === input && (pressed === "ctrl enter" || (pressed === "enter" && !isTouch.matches))) {
    event.preventDefault();
    send(input.value);
  } else if (event.target === input && pressed === "arrowup" && !input.value) {
    event.preventDefault();
    view.editLast();
  }
});

addEventListener("nanochatgpt:copied", () => toast("Copied."));

const clicks = {
  "new-chat": newChat,
  stop: halt,
  theme: toggleTheme,
  "open-settings": editSettings,
  persona: editSettings,
  "open-files": () => at("files").showModal(),
  "try-now": connection.look,
  import: () => at("file").click(),
  "export-one": () => download("json", store.exported([current])),
  "export-record": () => download("jsonl", store.record(current)),
  "export-all": () => download("json", store.exported(store.conversations()), "nanochatgpt"),
};
for (const [id, call] of Object.entries(clicks)) at(id).addEventListener("click", call);
for (const each of document.querySelectorAll("[data-icon]")) each.prepend(icon(each.dataset.icon));
for (const text of STARTERS) {
  at("starters").append(element("li", {}, element("button", { onclick: () => send(text) }, text)));
}
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send(input.value);
});
at("file").addEventListener("change", importFile);
at("search").addEventListener("input", () => sidebar.showList(current, acts));
input.addEventListener("input", () => {
  view.grow(input);
  keepDraftSoon();
});
addEventListener("popstate", open);
addEventListener("pagehide", () => {
  keepDraft();
  runs.forEach(({ conversation }) => keep(conversation));
});
addEventListener("storage", follow);
addEventListener("nanochatgpt:full", () => (at("full").hidden = false));

/** Another tab has kept something: what is shown here follows, and what is deleted there is gone here. */
function follow({ key }) {
  const isOurs = key === store.nameOf(current.id);
  const kept = isOurs && store.load(current.id);
  if (isOurs && !kept && current.messages.length) {
    stop();
    input.value = "";
    go();
    toast("This chat was deleted in another tab.");
  } else if (kept && !runs.has(current.id)) {
    current = kept;
    render();
  } else sidebar.showList(current, acts);
}

if (isTouch.matches) input.enterKeyHint = "enter";
open();
greet().then(connection.look);
if (matchMedia("(hover: hover)").matches) input.focus();
