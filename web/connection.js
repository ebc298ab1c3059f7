// Whether the server is there. While it is gone it is asked again and again, at growing intervals.

import { health } from "./api.js";

const CALM = 20; // seconds between two looks while all is well
const LONGEST = 15; // seconds between two tries while it is gone
let timer, tries = 0;

/** Tells "change" events. wait: seconds until the next try; look: asks now; lost: nobody was found. */
export const connection = Object.assign(new EventTarget(), { gone: false, wait: 0, look, lost, back });

async function look() {
  clearTimeout(timer);
  if (!(await health())) return lost();
  tries = 0;
  timer = setTimeout(look, CALM * 1000);
  set(false);
}

function lost() {
  connection.wait = Math.min(2 ** tries++, LONGEST);
  count();
}

function count() {
  clearTimeout(timer);
  if (connection.wait === 0) return look();
  set(true);
  timer = setTimeout(() => (connection.wait--, count()), 1000);
}

function set(gone) {
  connection.gone = gone;
  connection.dispatchEvent(new Event("change"));
}

/** Resolves when the server is there. */
async function back() {
  while (connection.gone) {
    await new Promise((resolve) => connection.addEventListener("change", resolve, { once: true }));
  }
}
