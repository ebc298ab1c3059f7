// The list of conversations: search, pin, rename, delete. On a phone it slides over the chat.

import { at, element, iconButton } from "./dom.js";
import { conversations } from "./store.js";
import { titleOf } from "./tree.js";
import { composes } from "./view.js";

const list = at("chats");
const narrow = matchMedia("(max-width: 760px)");

/** Show the list. acts: pin, rename and remove, called with a conversation. */
export function showList(current, acts) {
  const words = at("search").value.trim().toLowerCase();
  const holds = (text) => text.toLowerCase().includes(words);
  const texts = (one) => [titleOf(one), ...one.messages.map(({ content }) => content)];
  const found = conversations().filter((one) => texts(one).some(holds));
  found.sort((one, other) => Boolean(other.pinned) - Boolean(one.pinned)); // else the order stays: the latest first
  const groups = Map.groupBy(found, ({ pinned, updated }) => (pinned ? "Pinned" : dayOf(updated)));
  const focused = document.activeElement.dataset.pin; // the list is made anew
  list.replaceChildren(
    ...[...groups].flatMap(([day, some]) => [
      element("li", { class: "day" }, day),
      ...some.map((one) => row(one, one.id === current.id, acts)),
    ]),
  );
  const pin = focused && list.querySelector(`[data-pin="${focused}"]`);
  pin?.previousElementSibling.focus(); // the buttons of a row are there while the focus is in it
  pin?.focus();
  if (!found.length) list.append(element("li", {}, element("p", {}, words ? "Nothing is found." : "No chats yet.")));
}

/** Today, yesterday, a week, or the month of a time in milliseconds. */
function dayOf(time) {
  const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / 86400000);
  if (ago < 2) return ago < 1 ? "Today" : "Yesterday";
  if (ago < 7) return "The last seven days";
  return new Date(time).toLocaleDateString(undefined, { year: "numeric", month: "long" });
}

function row(conversation, isCurrent, acts) {
  const [title, { id, pinned }] = [titleOf(conversation), conversation];
  const rename = () => {
    const box = nameBox(conversation, acts);
    made.replaceChildren(box);
    box.select();
  };
  const made = element(
    "li",
    {},
    element("a", { href: `#${id}`, dir: "auto", "aria-current": isCurrent && "page", onclick: leaveOnPhone }, title),
    iconButton("pin", `${pinned ? "Unpin" : "Pin"}: ${title}`, () => acts.pin(conversation), { "data-pin": id }),
    iconButton("edit", `Rename: ${title}`, rename),
    iconButton("trash", `Delete: ${title}`, () => acts.remove(conversation)),
  );
  return made;
}

function nameBox(conversation, acts) {
  const box = element("input", {
    "aria-label": "New name",
    maxlength: 200,
    value: titleOf(conversation),
    onblur: () => acts.rename(conversation, box.value.trim()),
    onkeydown(event) {
      event.stopPropagation();
      if (composes(event)) return;
      if (event.key === "Escape") box.value = ""; // the name stays
      if (event.key !== "Enter" && event.key !== "Escape") return;
      box.blur();
      list.querySelector(`[href="#${conversation.id}"]`)?.focus();
    },
  });
  return box;
}

/** Open or close the menu; on a phone the chat under it is out of reach meanwhile. */
export function toggleMenu(open) {
  settle(open);
  if (narrow.matches) at(open ? "close-menu" : "menu").focus();
}

function settle(open = !narrow.matches) {
  document.body.dataset.menu = open ? "open" : "closed";
  at("main").inert = open && narrow.matches;
  at("menu").setAttribute("aria-expanded", open);
}

export function leaveOnPhone() {
  if (narrow.matches) toggleMenu(false);
}

settle(); // there on a desktop, away on a phone until it is wanted
narrow.addEventListener("change", () => settle());
at("menu").addEventListener("click", () => toggleMenu(document.body.dataset.menu !== "open"));
for (const id of ["close-menu", "scrim"]) at(id).addEventListener("click", leaveOnPhone);
at("sidebar").addEventListener("keydown", ({ key }) => key === "Escape" && leaveOnPhone());
