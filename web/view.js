// The log: the messages that are shown, and what can be done with each.

import { at, copy, element, iconButton, isTouch } from "./dom.js";
import * as markdown from "./markdown.js";
import { path, versions } from "./tree.js";

const log = at("log");
const scroller = at("scroll");
const LONG = 2000; // characters of an own message that is folded
let pinned = true; // whether the end is in view, and is to stay there
let shown; // the id of the conversation that is
const drawn = []; // {message, article, ...} of it
const due = new Set(); // messages to draw anew

scroller.addEventListener("scroll", () => {
  pinned = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  at("latest").hidden = pinned;
});
at("latest").addEventListener("click", toEnd);
new ResizeObserver(() => pinned && toEnd()).observe(scroller);

export function toEnd() {
  pinned = true;
  scroller.scrollTop = scroller.scrollHeight;
}

/** Whether the Enter of this event ends a word of Japanese, Chinese or Korean; Safari tells it by 229 alone. */
export const composes = ({ isComposing, keyCode }) => isComposing || keyCode === 229;

/** Whether a reply is on its way. */
export const isLive = ({ state }) => state === "waiting" || state === "writing";

/** Show the conversation. acts: retry, goOn, edit, rewrite, erase, show and rate, called with a message. */
export function show(conversation, acts) {
  const focused = document.activeElement.dataset.act;
  const place = drawn.findIndex(({ article }) => article.contains(document.activeElement));
  const messages = path(conversation);
  const changed = drawn.findIndex(({ message }, i) => message !== messages[i]);
  log.ariaLive = shown === conversation.id ? "polite" : "off"; // another conversation is not read out
  shown = conversation.id;
  for (const { article } of changed < 0 ? [] : drawn.splice(changed)) article.remove();
  for (const one of drawn) draw(one); // what stays is not made anew, and so not read out again
  for (const message of messages.slice(drawn.length)) {
    const words = element("div", { class: "words", dir: "auto" });
    const foot = element("div", { "aria-live": "off" });
    const label = message.role === "user" ? "You" : "Reply";
    const article = element("article", { class: message.role, "aria-label": label }, words, foot);
    drawn.push({ message, article, words, foot, conversation, acts });
    draw(drawn.at(-1));
    log.append(article);
  }
  markView(messages.findLast(({ used }) => used)?.dropped);
  focusOn(drawn[place]?.article, focused);
  if (pinned) toEnd();
}

/** Say before which message the bot's view begins, where `n` have no room in its context. */
function markView(n) {
  const words = "The bot no longer sees what is above this line.";
  log.querySelector(".view")?.remove();
  if (n) drawn[n]?.article.before(element("p", { class: "view" }, words));
}

/** The focus stays on the same button of a message that was made anew. */
function focusOn(article, act) {
  const find = (which) => article?.querySelector(`[data-act${which}]:enabled`);
  if (act) (find(`="${act}"`) ?? find(""))?.focus();
}

/** Show a message that has changed, with the next frame. */
export function update(message) {
  if (!due.size) requestAnimationFrame(drawDue);
  due.add(message);
}

function drawDue() {
  for (const one of drawn) if (due.has(one.message)) draw(one);
  due.clear();
  if (pinned) toEnd();
}

function draw(one) {
  const { message, article, words, foot } = one;
  const { role, content, note, state } = message;
  const live = isLive(message);
  const focused = foot.contains(document.activeElement) && document.activeElement.dataset.act;
  article.ariaBusy = live; // read out when it is whole
  article.classList.toggle("live", live);
  if (one.text !== content && role === "user") words.replaceChildren(content, ...folded(words, content));
  else if (one.text !== content) markdown.show(words, content);
  one.text = content;
  foot.replaceChildren(
    live && !note ? element("p", { class: "dots" }) : "",
    note ? element("p", { class: `note ${state}`, role: "status" }, note) : "",
    live ? "" : actions(one),
  );
  focusOn(foot, focused);
}

/** A button that unfolds a long message. */
function folded(words, content) {
  words.classList.toggle("folded", content.length > LONG);
  const unfold = ({ target }) => (words.classList.remove("folded"), target.remove());
  return content.length > LONG ? [element("button", { class: "unfold", onclick: unfold }, "Show all")] : [];
}

function actions(one) {
  const { message, conversation, acts } = one;
  const { role, content, verdict, tokens, speed, state, cut } = message;
  const row = element("div", { class: "actions" });
  const all = versions(conversation, message);
  const place = all.indexOf(message);
  const button = (name, label, act, more) => row.append(iconButton(name, label, act, { "data-act": name, ...more }));
  if (all.length > 1) {
    button("left", "Previous version", () => acts.show(all[place - 1]), { disabled: !place });
    row.append(element("span", { class: "count" }, `${place + 1}/${all.length}`));
    button("right", "Next version", () => acts.show(all[place + 1]), { disabled: place === all.length - 1 });
  }
  if (content) button("copy", "Copy", () => copy(content));
  if (role === "user") button("edit", "Edit and send again", () => edit(one));
  else if (message.parent) button("retry", "Try again", () => acts.retry(message));
  const goesOn = cut || state === "stopped" || state === "broken";
  if (role !== "user" && content && goesOn) {
    row.append(element("button", { class: "go-on", "data-act": "on", onclick: () => acts.goOn(message) }, "Continue"));
  }
  if (role !== "user" && content) button("edit", "Edit the bot's words", () => edit(one));
  button("trash", "Delete this message", () => acts.erase(message));
  if (role === "user" || !content || !message.parent) return row;
  for (const [name, label] of Object.entries({ good: "Good reply", bad: "Bad reply" })) {
    const pressed = verdict === name;
    button(name, label, () => acts.rate(message, pressed ? null : name), { "aria-pressed": String(pressed) });
  }
  const figures = [tokens && `${tokens} tokens`, speed && `${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`];
  row.append(element("span", { class: "figures" }, figures.filter(Boolean).join(", ")));
  return row;
}

/** Edit the last message that the user has sent, if there is one. */
export function editLast() {
  drawn.findLast(({ message }) => message.role === "user")?.article.querySelector('[data-act="edit"]').click();
}

function edit({ message, article, acts }) {
  const own = message.role === "user";
  const send = () => {
    const text = area.value.trim();
    if (!text) return;
    if (!own) leave();
    (own ? acts.edit : acts.rewrite)(message, text);
  };
  const leave = () => {
    editor.remove();
    focusOn(article, "edit");
  };
  const oninput = () => grow(area);
  const onkeydown = (event) => {
    if (event.key === "Escape") leave();
    const sends = event.key === "Enter" && !event.shiftKey && (event.ctrlKey || event.metaKey || !isTouch.matches);
    if (!sends || composes(event)) return;
    event.preventDefault();
    send();
  };
  const look = { "aria-label": "Edit the message", rows: 1, dir: "auto" };
  const area = element("textarea", { ...look, oninput, onkeydown }, message.content);
  const cancel = element("button", { onclick: leave }, "Cancel");
  const main = element("button", { class: "main", onclick: send }, own ? "Send" : "Save");
  const editor = element("div", { class: "editor" }, area, element("div", { class: "buttons" }, cancel, main));
  article.append(editor);
  grow(area);
  area.focus();
}

/** Make a text box as high as its text, where style.css cannot; it says how high it may be. */
export function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
