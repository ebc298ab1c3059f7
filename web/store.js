// What the browser keeps: an entry of localStorage a conversation. Where it keeps nothing (private mode, no room left),
// the tab's memory does.

import { add, choose, erase as eraseMessage, newConversation, sent } from "./tree.js";

const PREFIX = "nanochatgpt.";
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"];
const memory = new Map(); // what localStorage did not take

function attempt(act) {
  try {
    return act();
  } catch {
    // closed, full, or no JSON
  }
}

export function read(name, otherwise) {
  const text = memory.get(PREFIX + name) ?? attempt(() => localStorage.getItem(PREFIX + name));
  return attempt(() => JSON.parse(text)) ?? otherwise;
}

export function write(name, value) {
  const text = JSON.stringify(value ?? null);
  memory.delete(PREFIX + name);
  if (attempt(() => localStorage.setItem(PREFIX + name, text) ?? true)) return;
  memory.set(PREFIX + name, text);
  dispatchEvent(new Event("nanochatgpt:full"));
}

export function erase(name) {
  memory.delete(PREFIX + name);
  attempt(() => localStorage.removeItem(PREFIX + name));
}

/** All conversations, the latest first. */
export function conversations() {
  const names = new Set([...(attempt(() => Object.keys(localStorage)) ?? []), ...memory.keys()]);
  const found = [...names].filter((name) => name.startsWith(`${PREFIX}chat.`)).map((name) => load(name.slice(17)));
  return found.filter(Boolean).sort((one, other) => other.updated - one.updated);
}

export const nameOf = (id) => `${PREFIX}chat.${id}`;

/** The conversation, if there is one that is whole. */
export function load(id) {
  const found = read(`chat.${id}`);
  const isMessage = (one) => typeof one?.id === "string" && typeof one.content === "string";
  const isWhole = found?.id === id && Array.isArray(found.messages) && found.messages.every(isMessage);
  return isWhole ? { ...newConversation(), ...found } : undefined;
}

/** Keep the conversation, together with what another tab has added to it, and without what any tab has deleted. */
export function save(conversation) {
  if (isRemoved(conversation.id)) return;
  const other = load(conversation.id);
  const known = new Set(conversation.messages.map(({ id }) => id));
  conversation.messages.push(...(other?.messages ?? []).filter(({ id }) => !known.has(id)));
  conversation.gone = [...new Set([...(conversation.gone ?? []), ...(other?.gone ?? [])])];
  for (const id of conversation.gone) eraseAgain(conversation, id);
  restore(conversation);
}

/** Keep the conversation as it is here, whatever another tab has of it. */
export const restore = (conversation) => write(`chat.${conversation.id}`, conversation);

function eraseAgain(conversation, id) {
  const message = conversation.messages.find((one) => one.id === id);
  if (message) eraseMessage(conversation, message);
}

// conversations that are deleted stay so in every tab, but for Undo
const MOST = 500; // that are remembered
const isRemoved = (id) => read("removed", []).includes(id);

export function remove(id) {
  write("removed", [...read("removed", []), id].slice(-MOST));
  erase(`chat.${id}`);
}

export const revive = (id) => write("removed", read("removed", []).filter((other) => other !== id));

export const exported = (all) => JSON.stringify({ format: "nanochatgpt", version: 1, conversations: all }, null, 1);

/** A line that training reads: what is shown, with its persona. */
export const record = (conversation) => `${JSON.stringify({ messages: sent(conversation) })}\n`;

/** The conversations of an exported file, or of records, a line each. Throws an Error for people. */
export function imported(text) {
  const content =
    attempt(() => [JSON.parse(text)]) ?? attempt(() => text.trim().split("\n").map((line) => JSON.parse(line)));
  const found = attempt(() => content.flatMap((one) => one.conversations ?? one).map(revived));
  if (!found?.length) throw new Error("This file holds no conversations that can be read; nothing is imported.");
  return found;
}

const isId = (id) => /^[0-9a-f]{16}$/.test(id);
const numbers = (from, names) =>
  Object.fromEntries(names.map((name) => [name, from?.[name]]).filter(([, value]) => Number.isFinite(value)));

/** The conversation of a file: only what is known and of its type is taken over. */
function revived(raw) {
  const made = newConversation(numbers(raw.settings, NUMBERS));
  const byId = new Map();
  let last;
  if (typeof raw.settings?.system === "string") made.settings.system = raw.settings.system;
  for (const message of raw.messages) {
    const { id, parent, role, content, verdict } = message;
    if (typeof content !== "string") throw new TypeError();
    if (role === "system") made.settings.system = content;
    else if (role === "user" || role === "assistant") {
      last = add(made, id ? byId.get(parent) : last, role, content, isId(id) ? id : undefined);
      byId.set(id, Object.assign(last, numbers(message, ["tokens", "used", "speed"])));
      if (verdict === "good" || verdict === "bad") last.verdict = verdict;
    } else throw new TypeError();
  }
  if (!last) throw new TypeError();
  for (const child of Object.values(raw.chosen ?? {})) if (byId.has(child)) choose(made, byId.get(child));
  if (typeof raw.title === "string") made.title = raw.title;
  if (raw.pinned === true) made.pinned = true;
  return Object.assign(made, isId(raw.id) && { id: raw.id }, numbers(raw, ["updated"]));
}
