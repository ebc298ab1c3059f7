// The server: OpenAI's protocol, as serve.py speaks it.

let sessionKey; // where sessionStorage is closed to us

/** The key of the server; with a value, it is set. */
export function key(value) {
  try {
    if (value) sessionStorage.setItem("nanochatgpt.key", value);
    return sessionStorage.getItem("nanochatgpt.key");
  } catch {
    return (sessionKey = value ?? sessionKey);
  }
}

/** An Error that tells why. gone: nobody is there; busy: the seconds to wait before the next try. */
const failure = (message, why) => Object.assign(new Error(message), why);

/** The Response of the path; `body` makes it a POST. */
async function request(path, { body, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const method = body ? "POST" : "GET";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal }).catch(() => {
    throw failure("The server does not answer.", { gone: true });
  });
  const { ok, status } = response;
  if (ok) return response;
  const told = await response.json().catch(() => null);
  const wait = response.headers.get("Retry-After");
  const isBusy = status === 429 || (status === 503 && wait);
  throw failure(inWords(status, told?.error), {
    status,
    gone: !isBusy && status > 501 && status < 505, // a proxy before it
    busy: isBusy && Math.min(Math.max(Number(wait) || 2, 1), 60),
  });
}

/** What went wrong, for somebody who knows nothing of protocols; the server's own words where they are for people. */
function inWords(status, error) {
  if (error?.code === "context_length_exceeded") {
    return "This message and the persona are longer than the model can read. Make one of them shorter.";
  }
  if (status === 413) return "This is more than the server takes at once. Make it shorter, or begin a new chat.";
  if (status === 403) return "The server does not take requests from this address.";
  if (status >= 500) return "The server failed. Whoever runs it finds the reason in its log.";
  return error?.message ?? `The server answers ${status}.`;
}

/** Whether the server is there. */
export function health() {
  return request("health", { signal: AbortSignal.timeout(5000) }).then(
    () => true,
    (error) => !error.gone && !error.busy,
  );
}

/** The model's name and context, where the server tells it. */
export async function model() {
  const [first] = (await (await request("v1/models")).json()).data;
  const { data: personas } = await (await request("personas")).json();
  const { id: name, context = first.max_model_len, sampling, talk, memory } = first;
  return { name, context, sampling, talk, memory, personas };
}

/** The notes of a chat's memory, after a change: forget or add; what the next request brings along of it is `memory`. */
export const notes = async (messages, memory, change) =>
  (await request("memory", { body: { messages, memory, ...change } })).json();

/** What somebody thinks of a reply: { verdict } or { edit }, how it should have been. */
export const feedback = (conversation, message, thought) =>
  request("feedback", { body: { conversation, message, ...thought } });

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw failure("The server sent something that cannot be read.");
  }
}

/** The chunks of a streamed reply, as OpenAI has them. */
export async function* chunks(body, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await request("v1/chat/completions", { body: asked, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value } = await reader.read().catch(() => ({}));
    if (value === undefined) throw failure("The server is gone.", { gone: true }); // without its [DONE]
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") && line.slice(5).trim();
      if (data === "[DONE]") return;
      if (!data) continue;
      const chunk = parsed(data);
      if (chunk.error) throw failure(chunk.error.message ?? "The server failed.");
      yield chunk;
    }
  }
}
