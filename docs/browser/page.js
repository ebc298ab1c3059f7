// The page: what is shown and what the buttons do. ?model=FOLDER says where the model is, beside this page or elsewhere
// on its server; without it that is model.

import { Chat } from "./chat.js";

const at = (id) => document.getElementById(id);
const named = new URLSearchParams(location.search).get("model") ?? "model";
const folder = new URL(named.endsWith("/") ? named : `${named}/`, location.href);
let messages = [];
let chat;
let stopped = true; // no reply is wanted, or none any more
let running = Promise.resolve(); // the reply that is on its way

function add(role, text = "") {
  const article = document.createElement("article");
  article.className = role;
  article.dir = "auto";
  article.textContent = text;
  at("log").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

function complain(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

function show() {
  at("empty").hidden = at("log").hasChildNodes();
  at("send").hidden = !stopped;
  at("send").disabled = !chat;
  at("stop").hidden = stopped;
}

/** Ask for a reply to all that was said, and show it as it comes. */
async function answer() {
  const talk = messages;
  const article = add("assistant");
  const start = performance.now();
  let [n, first, text] = [0, 0, ""];
  article.classList.add("live");
  try {
    for await (text of chat.reply(talk)) {
      n++;
      first ||= performance.now() - start;
      const { scrollTop, clientHeight, scrollHeight } = at("scroll");
      const isAtEnd = scrollTop + clientHeight > scrollHeight - 40;
      article.textContent = text;
      if (isAtEnd) article.scrollIntoView({ block: "end" });
      if (stopped) break;
    }
  } catch (error) {
    complain(error);
    if (!text) takeBack(talk, article.previousElementSibling);
  }
  article.classList.remove("live");
  if (!text) article.remove();
  else talk.push({ role: "assistant", content: text });
  const seconds = (performance.now() - start - first) / 1000;
  const speed = Math.max(n - 1, 0) / seconds; // each token but the first is a piece of text
  article.title = `first word after ${Math.round(first)} ms, then ${speed.toFixed(0)} tokens/s`;
}

/** Give a message that cannot be answered back to who wrote it: too long, say, it would be in the way of the next. */
function takeBack(talk, article) {
  article.remove();
  const { content } = talk.pop();
  at("input").value ||= content;
  if (talk.every(({ role }) => role === "system")) talk.length = 0;
}

async function send() {
  const text = at("input").value.trim();
  if (!text || !chat || !stopped) return;
  await running;
  const persona = at("persona").value.trim();
  if (!messages.length && persona) messages.push({ role: "system", content: persona });
  messages.push({ role: "user", content: text });
  at("input").value = "";
  at("trouble").hidden = true;
  add("user", text);
  stopped = false;
  show();
  running = answer();
  await running;
  stopped = true;
  show();
}

function stop() {
  stopped = true;
  at("input").focus();
}

async function newChat() {
  stop();
  messages = [];
  await running;
  at("log").replaceChildren();
  at("trouble").hidden = true;
  show();
}

async function load() {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  at("progress").hidden = false;
  try {
    chat = await Chat.open(folder, (bytes, total) => {
      if (total) Object.assign(at("progress"), { max: total, value: bytes });
      at("model").textContent = `Loading the model, ${megabytes(bytes)}`;
    });
    at("model").textContent = `A model of ${megabytes(chat.opened.bytes)}, in this browser`;
  } catch (error) {
    at("model").textContent = "No model is loaded.";
    complain(new Error(`${folder.pathname} cannot be opened: ${error.message}`));
  }
  at("progress").hidden = true;
  show();
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("stop").addEventListener("click", stop);
at("new-chat").addEventListener("click", newChat);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  const isTouch = matchMedia("(hover: none) and (pointer: coarse)").matches; // there Enter begins a line
  if (event.target !== at("input") || event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch) return;
  event.preventDefault();
  send();
});
load();
