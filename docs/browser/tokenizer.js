// Text to ids and back: the byte-level BPE in a tokenizer.json, as tokenization/tokenizer.py has it.

// GPT-2's words; White_Space, for JavaScript's \s is another set of characters
const SPACE = String.raw`\p{White_Space}`;
const WORDS = new RegExp(
  String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^${SPACE}\p{L}\p{N}]+|${SPACE}+(?![^${SPACE}])|${SPACE}+`,
  "gu",
);

/** How GPT-2 spells bytes in JSON: 256 printable letters, index = byte. */
function byteLetters() {
  const isPrintable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let spare = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : spare++));
}

const LETTERS = byteLetters();
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]));

export class Tokenizer {
  /** json: the content of a tokenizer.json. */
  constructor(json) {
    this.special = new Map(json.added_tokens.map(({ content, id }) => [content, id]));
    this.ids = new Map(Object.entries(json.model.vocab).filter(([token]) => !this.special.has(token)));
    const bytes = (token) => Uint8Array.from(token, (letter) => BYTES.get(letter));
    this.tokens = new Map([...this.ids].map(([token, id]) => [id, bytes(token)]));
  }

  /** The ids of ordinary text: who types the spelling of a special token gets its letters. */
  encode(text) {
    const utf8 = new TextEncoder();
    return (text.match(WORDS) ?? []).flatMap((word) => {
      const parts = Array.from(utf8.encode(word), (byte) => LETTERS[byte]);
      return this.merged(parts).map((token) => this.ids.get(token)).filter((id) => id !== undefined);
    });
  }

  /** The parts of a word after all merges: again and again the two neighbours that make the earliest token. */
  merged(parts) {
    while (true) {
      let place = -1;
      let earliest = Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = this.ids.get(parts[i] + parts[i + 1]) ?? Infinity;
        if (id < earliest) [place, earliest] = [i, id];
      }
      if (place < 0) return parts;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
  }

  /** A function that decodes a stream: id -> the text that is whole now; without an id what was held back. */
  decoder() {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    return (id) => (id === undefined ? utf8.decode() : utf8.decode(this.tokens.get(id), { stream: true }));
  }
}
