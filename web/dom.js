// Elements and icons. Words are text nodes: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  down: "M12 5v14M6 13l6 6 6-6",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.4M20 4v5.4h-5.4",
  edit: "M4 20h4L19.5 8.5l-4-4L4 16zM13 7l4 4",
  trash: "M4 7h16M9 7V4h6v3M6.5 7l.9 13h9.2l.9-13",
  good: "M7.5 11v9H4v-9zM7.5 11l4-7.5c1.5 0 2.4 1.2 2.1 2.7L13 9.5h5.6c1.2 0 2 1 1.8 2.2l-1.2 6.6c-.2 1-1 1.7-2 1.7H7.5",
  settings: "M4 8h9M19 8h1M13 5h6v6h-6zM4 16h1M11 16h9M5 13h6v6H5z",
  theme: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 4v16M12 9l4-3M12 13l7-4M12 17l7-4",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v5",
  file: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 16v4h14v-4",
};
ICONS.bad = ICONS.good; // style.css turns it

/** A phone or a tablet, whose Enter begins a line. */
export const isTouch = matchMedia("(hover: none) and (pointer: coarse)");

export const at = (id) => document.getElementById(id);

/** Attributes that begin with "on" are listeners, those that are false or absent are left out. */
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const [svg, path] = ["svg", "path"].map((each) => document.createElementNS(SVG, each));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is called `label`. */
export function iconButton(name, label, onclick, more) {
  const look = { type: "button", class: "icon", "aria-label": label, title: label };
  return element("button", { ...look, onclick, ...more }, icon(name));
}

/** Put `text` into the clipboard; outside of https and localhost only the old way is open. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "hidden" }, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  dispatchEvent(new Event("nanochatgpt:copied"));
}
