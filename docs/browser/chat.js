// From messages to a reply: the chat format, what fits in the context, how a token is drawn; all as chat.py does it.

import { Tokenizer } from "./tokenizer.js";

const TAGS = { system: "[System]:", user: "[Human]:", assistant: "[Bot]:" }; // tokenization/special_tokens.py
const MAX_NEW_TOKENS = 200;
// times the temperature: a token whose logit is further below the highest is exp(20) times less likely than that one
const NEAR = 20;
const PENALTY_WINDOW = 64; // how many of the bot's last tokens the penalty looks at

export class Chat {
  /** Open the folder at this address (its last character a slash). progress(bytes, of all) is called while it loads. */
  static async open(folder, progress = () => {}) {
    const names = ["config.json", "generation_config.json", "tokenizer.json"];
    const [config, sampling, tokenizer] = await Promise.all(names.map((name) => json(new URL(name, folder))));
    const chat = new Chat(config, sampling, new Tokenizer(tokenizer), progress);
    chat.opened = await chat.ask({ open: folder.href, config });
    return chat;
  }

  constructor(config, sampling, tokenizer, progress) {
    this.context = config.n_positions;
    this.sampling = sampling; // the content of generation_config.json
    this.tokenizer = tokenizer;
    this.progress = progress;
    this.tags = Object.fromEntries(Object.entries(TAGS).map(([role, tag]) => [role, this.special(tag)]));
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  }

  special(token) {
    const id = this.tokenizer.special.get(token);
    if (id === undefined) throw new Error(`its tokenizer has no ${token}; train.py teaches a model to chat`);
    return id;
  }

  /** Have the worker answer a question. */
  ask(question) {
    return new Promise((resolve, reject) => {
      const missing = "worker.js, or onnxruntime-web in package/, is not there";
      this.worker.onerror = (event) => reject(new Error(event.message || missing));
      this.worker.onmessage = ({ data }) => {
        if (data.progress) this.progress(data.progress, data.total);
        else if (data.error) reject(new Error(data.error));
        else resolve(data.result);
      };
      this.worker.postMessage(question);
    });
  }

  /** The ids that a reply to the messages continues. Messages in a row by one person are one turn. */
  prompt(messages) {
    const turns = [];
    for (const { role, content } of messages) {
      if (turns.at(-1)?.role === role) turns.at(-1).text += `\n${content}`;
      else turns.push({ role, text: ` ${content}` });
    }
    const end = this.special("<|endofturn|>");
    const ids = turns.flatMap(({ role, text }) => [this.tags[role], ...this.tokenizer.encode(text), end]);
    return [this.special("<|endoftext|>"), ...ids, this.tags.assistant];
  }

  /** The prompt, without the oldest turns where it would leave no room for a reply; half of the room at a time. */
  fitting(messages) {
    const room = this.context - Math.min(MAX_NEW_TOKENS, Math.floor(this.context / 4));
    const ids = this.prompt(messages);
    if (ids.length <= room) return ids;
    const system = messages.filter(({ role }) => role === "system");
    const talk = messages.slice(system.length);
    const nSystem = this.prompt(system).length;
    const costs = talk.map((message) => this.prompt([message]).length - this.prompt([]).length);
    const total = nSystem + costs.reduce((sum, cost) => sum + cost, 0);
    const step = Math.max(1, Math.floor((room - nSystem) / 2));
    const wanted = Math.ceil((total - room) / step) * step; // whole steps, so that the next turns keep this beginning
    const starts = [];
    for (let start = 1, dropped = 0; start < talk.length; start++) {
      dropped += costs[start - 1];
      const isTurn = talk[start].role === "user" && talk[start - 1].role !== "user";
      if (isTurn && total - dropped <= room) starts.push({ start, dropped });
    }
    if (!starts.length) throw new Error(`the message is too long: ${ids.length} tokens, with room for ${room}`);
    const { start } = starts.find(({ dropped }) => dropped >= wanted) ?? starts[0];
    return this.prompt([...system, ...talk.slice(start)]);
  }

  /** Yield the text of the reply to `messages` ({role, content}) as it grows; `sampling` changes how it is drawn. */
  async *reply(messages, sampling = {}) {
    const settings = { ...this.sampling, ...sampling };
    const ids = this.fitting(messages);
    const replies = messages.filter(({ role }) => role === "assistant");
    const said = replies.flatMap(({ content }) => this.tokenizer.encode(` ${content}`));
    const decode = this.tokenizer.decoder();
    let text = "";
    for (let n = 0; n < MAX_NEW_TOKENS && ids.length < this.context; n++) {
      const logits = await this.ask({ ids });
      for (const tag of Object.values(this.tags)) logits[tag] = -Infinity; // the bot opens nobody's turn
      const id = draw(logits, settings, said.slice(-PENALTY_WINDOW));
      if ([settings.eos_token_id].flat().includes(id)) break;
      ids.push(id);
      said.push(id);
      text += decode(id);
      yield text.trim();
    }
    yield (text + decode()).trim();
  }
}

async function json(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.pathname} is not there`);
  return answer.json();
}

/** An id, drawn from logits (changed) as inference/sampling.py does; settings: those of a generation_config.json. */
export function draw(logits, settings, recent) {
  const { do_sample = true, temperature = 1, top_k = 0, top_p = 1, repetition_penalty = 1 } = settings;
  for (const id of new Set(recent)) logits[id] *= logits[id] < 0 ? repetition_penalty : 1 / repetition_penalty;
  const highest = logits.reduce((a, b) => Math.max(a, b));
  if (!do_sample || temperature === 0) return logits.indexOf(highest);
  const isNear = (id) => logits[id] > highest - NEAR * temperature;
  const order = [...logits.keys()].filter(isNear).sort((a, b) => logits[b] - logits[a]);
  const weights = order.slice(0, top_k || order.length).map((id) => Math.exp((logits[id] - highest) / temperature));
  let left = top_p * weights.reduce((sum, weight) => sum + weight, 0);
  let n = 0;
  while (n < weights.length && left > 0) left -= weights[n++];
  let threshold = Math.random() * weights.slice(0, n).reduce((sum, weight) => sum + weight, 0);
  for (let i = 0; i < n - 1; i++) {
    threshold -= weights[i];
    if (threshold < 0) return order[i];
  }
  return order[n - 1];
}
