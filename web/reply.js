// A reply, from the question to its last word, through whatever happens to the server meanwhile.

import { chunks } from "./api.js";
import { connection } from "./connection.js";

/**
 * Fill `reply`, a message, with what the server says to `body`, calling changed() after each change. reply.state is
 * "waiting", "writing", and in the end "done", "stopped", "broken" or "failed"; reply.note says it in words.
 */
export async function answer(reply, body, signal, changed, askKey) {
  const is = (state, note = "") => changed(Object.assign(reply, { state, note }));
  const stopped = new Promise((resolve) => signal.addEventListener("abort", resolve));
  for (;;) {
    try {
      is("waiting");
      return is("done", await stream(reply, body, signal, changed));
    } catch (error) {
      if (signal.aborted) return is("stopped", "Stopped.");
      if (error.gone) connection.lost();
      if (error.gone && reply.content) return is("broken", "The connection ended during this reply.");
      if (error.gone) {
        is("waiting", "Waiting for the server.");
        await Promise.race([stopped, connection.back()]);
      } else if (error.busy) {
        for (let left = Math.ceil(error.busy); left > 0 && !signal.aborted; left--) {
          is("waiting", `The server is busy, trying again in ${left} s.`);
          await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, 1000))]);
        }
      } else if (error.status !== 401 || !(await askKey())) return is("failed", error.message);
      if (signal.aborted) return is("stopped", "Stopped.");
    }
  }
}

const CALM = 20; // seconds in which something should come

/** What is to be noted of the reply. */
async function stream(reply, body, signal, changed) {
  let last = Date.now();
  const watch = setInterval(() => {
    if (Date.now() < last + CALM * 1000 || reply.note) return;
    reply.note = `Nothing has come for ${CALM} s: the server is busy, or gone.`;
    changed();
  }, 1000);
  const came = () => {
    last = Date.now();
    reply.note = "";
  };
  try {
    return await read(reply, body, signal, changed, came);
  } finally {
    clearInterval(watch);
  }
}

async function read(reply, body, signal, changed, came) {
  let begun, note;
  for await (const { choices, usage } of chunks(body, signal)) {
    came();
    const { delta, finish_reason } = choices[0] ?? {};
    if (delta?.content) {
      begun ??= performance.now();
      reply.state = "writing";
      reply.content += delta.content;
      changed();
    }
    if (finish_reason === "length") {
      note = "Cut: it reached the longest that is allowed.";
      reply.cut = true;
    }
    if (usage) {
      const seconds = (performance.now() - begun) / 1000; // without the wait for the first token
      Object.assign(reply, { tokens: usage.completion_tokens, used: usage.total_tokens, dropped: usage.dropped_turns });
      // of what came within a moment the browser cannot tell the speed
      if (usage.completion_tokens > 2 && seconds > 0.02) reply.speed = (usage.completion_tokens - 1) / seconds;
    }
  }
  return reply.content ? note : "The model had nothing to say.";
}
