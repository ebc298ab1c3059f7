// Markdown to elements: marked reads it, highlight.js colours code, and what is shown is made here, element by element.
// No HTML is ever parsed: what a reply has of it stays letters, so that there is nothing to sanitise.

import { Lexer } from "./vendor/marked.js";
import { copy, element, iconButton } from "./dom.js";

const GRAMMARS = "bash c cpp css diff go java javascript json python rust sql xml yaml".split(" ");
const NAMES = { py: "python", js: "javascript", ts: "javascript", typescript: "javascript", sh: "bash", shell: "bash",
  html: "xml", "c++": "cpp", rs: "rust", yml: "yaml", jsonc: "json" };
const LONGEST = 20000; // characters of code that are coloured

/** The text as a DocumentFragment; it may be half-written, with a fence that is still open. */
export function markdown(text) {
  const made = new DocumentFragment();
  made.append(...read(text).map(block));
  return made;
}

/** Show the text in `parent`. What is there already, and has not changed, stays: its selection, its scroll, its buttons. */
export function show(parent, text) {
  const blocks = read(text);
  const old = parent.shown ?? [];
  const changed = blocks.findIndex(({ raw }, i) => raw !== old[i]?.raw);
  let same = changed < 0 ? blocks.length : changed;
  const [now, before] = [blocks[same], old[same]];
  if (now?.type === "code" && before?.type === "code" && now.lang === before.lang) {
    goOn(parent.childNodes[same], now);
    same++;
  }
  while (parent.childNodes.length > same) parent.lastChild.remove();
  parent.append(...blocks.slice(same).map(block));
  parent.shown = blocks;
}

/** Marked's tokens of the blocks, each of which is one element. */
function read(text) {
  const plain = { type: "text", raw: text, text };
  try {
    const tokens = new Lexer({ gfm: true, breaks: true }).lex(text.replaceAll("\t", "    "));
    return tokens.filter(({ type }) => type !== "space");
  } catch {
    return [plain]; // a thousand quotes within each other exhaust its stack
  }
}

const made = (name, tokens, attributes) => element(name, attributes, ...inline(tokens));
const blocks = {
  paragraph: ({ tokens }) => made("p", tokens),
  heading: ({ tokens, depth }) => made(`h${Math.min(depth + 2, 6)}`, tokens),
  blockquote: ({ tokens }) => element("blockquote", {}, ...flow(tokens)),
  hr: () => element("hr"),
  code: ({ text, lang }) => code(text, (lang ?? "").trim().split(/\s/)[0]),
  table,
  list: ({ ordered, start, items }) =>
    element(ordered ? "ol" : "ul", { start: ordered && start !== 1 && start }, ...items.map(item)),
};

const block = (token) => blocks[token.type]?.(token) ?? element("p", {}, ...lines(token.raw.trim()));
const flow = (tokens) => tokens.filter(({ type }) => type !== "space").map((token) =>
  token.type === "text" ? made("p", token.tokens ?? [token]) : block(token));

function item({ tokens, task, checked, loose }) {
  const words = tokens.filter(({ type }) => type !== "space" && type !== "checkbox");
  const box = task && element("input", { type: "checkbox", disabled: true, checked, "aria-label": checked ? "Done" : "To do" });
  const inside = words.flatMap((token) =>
    !loose && (token.type === "text" || token.type === "paragraph") ? inline(token.tokens ?? [token]) : flow([token]));
  return element("li", { class: task && "task" }, ...(box ? [box, " "] : []), ...inside);
}

function table({ header, rows }) {
  const cell = (name) => ({ tokens, align }) => made(name, tokens, { "data-align": align });
  const row = (name) => (cells) => element("tr", {}, ...cells.map(cell(name)));
  const head = element("thead", {}, row("th")(header));
  const whole = element("table", {}, head, element("tbody", {}, ...rows.map(row("td"))));
  return element("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" }, whole);
}

const leaf = (name) => ({ tokens, raw }) => made(name, tokens ?? [{ type: "text", raw, text: raw }]);
const spans = {
  strong: leaf("strong"),
  em: leaf("em"),
  del: leaf("del"),
  codespan: ({ text }) => element("code", {}, text),
  br: () => element("br"),
  escape: ({ text }) => text,
  link: ({ href, tokens, raw }) => anchor(href, tokens) ?? raw,
  text: ({ tokens, text }) => (tokens ? inline(tokens) : text),
};

/** Nodes and texts; what has no element here, such as an image or HTML, is shown as it is written. */
const inline = (tokens) => tokens.flatMap((token) => spans[token.type]?.(token) ?? token.raw);
const lines = (text) => text.split("\n").flatMap((line, i) => (i ? [element("br"), line] : [line]));

/** A link, if the address is one of the web: javascript: and its kind stay letters. */
function anchor(href, words) {
  if (!/^https?:\/\//i.test(href) || !URL.canParse(href)) return null;
  return made("a", words, { href, target: "_blank", rel: "noopener noreferrer" });
}

function code(text, language) {
  const words = element("code", {}, text);
  const button = iconButton("copy", "Copy the code", () => copy(words.textContent));
  const head = element("div", {}, element("span", {}, language || "code"), button);
  const lines = element("pre", { tabindex: 0, role: "group", "aria-label": "Code" }, words);
  const whole = element("div", { class: "code", dir: "ltr" }, head, lines);
  colour(words, text, language);
  return whole;
}

/** More of the same block of code: its place and its button stay. */
function goOn(node, { text, lang }) {
  const words = node.querySelector("code");
  words.textContent = text;
  colour(words, text, (lang ?? "").trim().split(/\s/)[0]);
}

/** Colour code, now or once its grammar has come. */
async function colour(words, text, language) {
  const name = NAMES[language.toLowerCase()] ?? language.toLowerCase();
  if (!GRAMMARS.includes(name) || text.length > LONGEST) return;
  const { default: hljs } = await import("./vendor/highlight.js");
  if (!hljs.getLanguage(name)) hljs.registerLanguage(name, (await import(`./vendor/highlight-${name}.js`)).default);
  if (words.textContent !== text) return; // it has gone on meanwhile
  const { _emitter } = hljs.highlight(text, { language: name, ignoreIllegals: true });
  words.replaceChildren(..._emitter.rootNode.children.map(coloured));
}

const coloured = (part) =>
  typeof part === "string"
    ? part
    : element("span", { class: part.scope && `c-${part.scope.split(".")[0]}` }, ...part.children.map(coloured));
