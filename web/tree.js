// A conversation is a tree: another reply, or an edited message, is one more child of its parent.
//
//   {id, title, updated, settings: {system, first, memory, temperature, ...}, messages: [{id, parent, role, content, ...}],
//    chosen: {a parent's id: the id of the child that is shown}}

/** 16 hexadecimal digits; crypto.randomUUID is not everywhere. */
const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const newConversation = (settings) =>
  ({ id: newId(), title: "", updated: Date.now(), settings: { ...settings }, messages: [], chosen: {} });

/** The messages that are shown, from the first to the last. */
export function path({ messages, chosen }) {
  const children = Map.groupBy(messages, (message) => message.parent);
  const shown = [];
  for (let parent = null; children.has(parent); parent = shown.at(-1).id) {
    const all = children.get(parent);
    shown.push(all.find(({ id }) => id === chosen[parent]) ?? all.at(-1));
  }
  return shown;
}

export const versions = (conversation, { parent }) =>
  conversation.messages.filter((other) => other.parent === parent);

/** A new message after `parent` (a message, or nothing), which is shown from now on. */
export function add(conversation, parent, role, content, id = newId()) {
  const message = { id, parent: parent?.id ?? null, role, content };
  conversation.messages.push(message);
  choose(conversation, message);
  return message;
}

/** Take one message out; what followed it follows its parent. `gone` keeps it from coming back from another tab. */
export function erase(conversation, { id, parent }) {
  const { messages, chosen } = conversation;
  messages.splice(messages.findIndex((message) => message.id === id), 1);
  for (const message of messages) if (message.parent === id) message.parent = parent;
  if (chosen[parent] === id) chosen[parent] = chosen[id];
  delete chosen[id];
  conversation.gone = [...new Set([...(conversation.gone ?? []), id])];
  conversation.updated = Date.now();
}

export function choose(conversation, { id, parent }) {
  conversation.chosen[parent] = id;
  conversation.updated = Date.now();
}

/** What the API is sent: the persona, and the messages that are shown, up to and with `last`. */
export function sent(conversation, last) {
  const shown = path(conversation);
  const system = { role: "system", content: conversation.settings.system ?? "" };
  return [system, ...(last ? shown.slice(0, shown.indexOf(last) + 1) : shown)]
    .filter(({ content }) => content.trim())
    .map(({ role, content }) => ({ role, content }));
}

const GREETING = /^((hi|hello|hey|good (morning|evening|afternoon|day))( there)?|how are you( doing)?( today)?)\b[\s,.!?]*/i;

/** The name that it was given, or what it is about: the first line of the user's that says more than hello. */
export function titleOf({ title, messages }) {
  if (title) return title;
  const lines = messages.filter(({ role }) => role === "user").map(({ content }) => content.trim().split("\n", 1)[0]);
  const line = lines.map(subject).find(Boolean) ?? lines[0] ?? "";
  return (line.length > 60 ? `${line.slice(0, 59)}…` : line) || "New chat";
}

/** The line without the greetings at its beginning. */
function subject(line) {
  const rest = line.replace(GREETING, "");
  return rest === line ? line : subject(rest.replace(/^./u, (letter) => letter.toUpperCase()));
}
