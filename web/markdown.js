// Markdown to elements: paragraphs, headings, lists, code, bold, italic, links. HTML in it stays letters.

import { copy, element, iconButton } from "./dom.js";

const DEEPEST = 6; // lists within lists, emphasis within emphasis; what is deeper is letters
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^(#{1,6}) +(.*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(.*)$/;
const LINK = /\[([^[\]\n]{1,500})\]\(([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`*]+/iy;
const SPECIAL = /[\\`*_[\nhH]/g; // what may begin more than a letter

/** The text as a DocumentFragment; it may be half-written, with a fence that is still open. */
export function markdown(text) {
  return blocks(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), new DocumentFragment(), 0);
}

function blocks(lines, parent, depth) {
  let paragraph = [];
  const put = (...nodes) => {
    if (paragraph.length) parent.append(inline(paragraph.join("\n"), element("p"), 0));
    paragraph = [];
    parent.append(...nodes);
  };
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const heading = HEADING.exec(line);
    const fence = FENCE.exec(line);
    if (fence) {
      const [, marks, language] = fence;
      const start = ++i;
      while (i < lines.length && !(lines[i].trim().startsWith(marks) && FENCE.test(lines[i]))) i++;
      put(code(lines.slice(start, i++).join("\n"), language.trim()));
    } else if (heading) {
      put(inline(heading[2], element(`h${Math.min(heading[1].length + 2, 6)}`), 0));
      i++;
    } else if (depth < DEEPEST && beginsList(line, paragraph)) {
      const made = [];
      i = list(lines, i, made, depth);
      put(...made);
    } else {
      if (line.trim()) paragraph.push(line.trim());
      else put();
      i++;
    }
  }
  put();
  return parent;
}

function code(text, language) {
  const button = iconButton("copy", "Copy the code", () => copy(text));
  const head = element("div", {}, element("span", {}, language || "code"), button);
  const words = element("pre", { tabindex: 0, role: "group", "aria-label": "Code" }, element("code", {}, text));
  return element("div", { class: "code" }, head, words);
}

/** Amid a paragraph only "1." begins a list: "in\n1986. what a year" is none. */
function beginsList(line, paragraph) {
  return ITEM.test(line) && !(paragraph.length && parseInt(line) > 1);
}

/** Put the list that begins at lines[i] into `made`; where it ends. */
function list(lines, i, made, depth) {
  const indent = (at) => lines[at].length - lines[at].trimStart().length;
  const isNumbered = (at) => parseInt(lines[at]) >= 0;
  const [margin, numbered] = [indent(i), isNumbered(i)];
  const isOurs = (at) => ITEM.test(lines[at]) && indent(at) < margin + 2 && isNumbered(at) === numbered;
  const rows = element(numbered ? "ol" : "ul", { start: numbered && parseInt(lines[i]) });
  while (i < lines.length && isOurs(i)) {
    const [, space, mark, words] = ITEM.exec(lines[i++]);
    const own = [words];
    for (; i < lines.length; i++) {
      const blank = !lines[i].trim();
      const goesOn = indent(i) >= margin + 2 || (own.at(-1) && !ITEM.test(lines[i]) && !FENCE.test(lines[i]));
      if (blank ? i + 1 === lines.length || indent(i + 1) < margin + 2 : !goesOn) break;
      own.push(lines[i].slice(Math.min(indent(i), space.length + mark.length + 1)));
    }
    const row = blocks(own, element("li"), depth + 1);
    if (row.firstChild?.nodeName === "P") row.firstChild.replaceWith(...row.firstChild.childNodes); // a tight list
    rows.append(row);
    const next = lines.findIndex((line, at) => at >= i && line.trim());
    if (next > i && isOurs(next)) i = next; // over blank lines between items
  }
  made.push(rows);
  return i;
}

/** `parent` with the text appended, in linear time: a mark that does not come again is sought once. */
function inline(text, parent, depth) {
  const gone = new Set(); // the marks that do not come again
  let plain = "";
  for (let i = 0; i < text.length; ) {
    SPECIAL.lastIndex = i;
    const at = SPECIAL.exec(text)?.index ?? text.length;
    plain += text.slice(i, at);
    i = at;
    const mark = text[i];
    if (!mark) break;
    const made = begun[mark.toLowerCase()](text, i, gone, depth) || { plain: mark, end: i + 1 };
    if (made.node) parent.append(plain, made.node);
    plain = made.node ? "" : plain + (made.plain ?? text.slice(i, made.end));
    i = made.end;
  }
  parent.append(plain);
  return parent;
}

// for each of SPECIAL: {node, end} or {plain, end}, or nothing where it is a letter
const begun = {
  "\n": (text, i) => ({ node: element("br"), end: i + 1 }),
  "\\": (text, i) => /[\\`*_[\](){}#+.!>~-]/.test(text[i + 1] ?? "") && { plain: text[i + 1], end: i + 2 },
  "`": codeSpan,
  "*": emphasis,
  _: emphasis,
  "[": link,
  h: address,
};

/** The marks at `start`: a run of the same character. */
function runAt(text, start) {
  let end = start;
  while (text[end] === text[start]) end++;
  return text.slice(start, end);
}

function codeSpan(text, start, gone) {
  const marks = runAt(text, start);
  const from = start + marks.length;
  let end = gone.has(marks) ? -1 : text.indexOf(marks, from);
  while (end > 0 && text[end + marks.length] === "`") end = text.indexOf(marks, end + runAt(text, end).length);
  if (end > 0) return { node: element("code", {}, text.slice(from, end)), end: end + marks.length };
  gone.add(marks);
  return { plain: marks, end: from };
}

function emphasis(text, start, gone, depth) {
  const mark = text[start];
  const marks = text[start + 1] === mark ? mark + mark : mark;
  const from = start + marks.length;
  const isWord = (at) => mark === "_" && /[\p{L}\p{N}]/u.test(text[at] ?? "");
  const letters = { plain: marks, end: from };
  if (depth === DEEPEST || gone.has(marks) || !/\S/.test(text[from] ?? "") || isWord(start - 1)) return letters;
  for (let end = text.indexOf(marks, from + 1); end > 0; end = text.indexOf(marks, end + 1)) {
    const ofDouble = marks === mark && (text[end + 1] === mark || text[end - 1] === mark);
    if (ofDouble || /\s/.test(text[end - 1]) || isWord(end + marks.length)) continue;
    if (marks !== mark && text[end + 2] === mark) end++; // "***": the inner mark closes first
    const node = element(marks === mark ? "em" : "strong");
    return { node: inline(text.slice(from, end), node, depth + 1), end: end + marks.length };
  }
  gone.add(marks);
  return letters;
}

function link(text, start) {
  LINK.lastIndex = start;
  const found = LINK.exec(text);
  return found && { node: anchor(found[2], found[1]), end: LINK.lastIndex };
}

function address(text, start) {
  ADDRESS.lastIndex = start;
  let found = ADDRESS.exec(text)?.[0];
  while (found && ".,;:!?)".includes(found.at(-1))) found = found.slice(0, -1); // the sentence's, not the address's
  return found && { node: anchor(found, found), end: start + found.length };
}

/** A link, if the address is one of the web: javascript: and its kind stay letters. */
function anchor(href, words) {
  if (!/^https?:\/\//i.test(href) || !URL.canParse(href)) return null;
  return element("a", { href, target: "_blank", rel: "noopener noreferrer" }, words);
}
