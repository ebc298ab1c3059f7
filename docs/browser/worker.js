// The model, away from the page's thread: onnxruntime-web computes the logits of the next token.

import * as ort from "./package/dist/ort.wasm.min.mjs";

const PAST = "past_key_values.";
// weights in int8 become float32 as the file is opened: WebAssembly has no fast products of int8, and gains five times
const OPTIONS = { executionProviders: ["wasm"], extra: { session: { disable_quant_qdq: "1" } } };
let session;
let shape; // the content of config.json
let past = {}; // the keys and values of the ids that are computed
let computed = []; // these ids

/** Open the model in the folder at this address: that in int8 or, where there is none, that in float32. */
async function open(folder, config) {
  shape = config;
  for (const name of ["model_quantized.onnx", "model.onnx"]) {
    const answer = await fetch(new URL(`onnx/${name}`, folder));
    if (!answer.ok) continue;
    const bytes = await received(answer);
    session = await ort.InferenceSession.create(bytes, OPTIONS);
    return { file: name, bytes: bytes.length };
  }
  throw new Error("it has no onnx/model_quantized.onnx and no onnx/model.onnx");
}

/** The bytes of an answer; while they come, the page is told how many. */
async function received(answer) {
  const total = Number(answer.headers.get("Content-Length")) || 0;
  const pieces = [];
  let n = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    n += value.length;
    postMessage({ progress: n, total });
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** The logits, a Float32Array, after `ids`; what they have in common with the ids before is not computed again. */
async function logits(ids) {
  let n = 0;
  while (n < ids.length - 1 && ids[n] === computed[n]) n++;
  const names = session.inputNames.filter((name) => name.startsWith(PAST));
  if (n < computed.length || !n) {
    past = Object.fromEntries(names.map((name) => [name, cut(past[name] ?? nothing(), n)]));
  }
  computed = ids.slice(0, n);
  const fresh = ids.slice(n);
  const output = await session.run({
    ...past,
    input_ids: int64(fresh),
    position_ids: int64(fresh.map((_, i) => n + i)),
    attention_mask: int64(ids.map(() => 1)),
  });
  past = Object.fromEntries(names.map((name) => [name, output[name.replace(PAST, "present.")]]));
  computed = ids;
  return output.logits.data.slice(-output.logits.dims[2]);
}

const int64 = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
const nothing = () => ({ data: new Float32Array(), dims: [1, shape.n_head, 0, shape.n_embd / shape.n_head] });

/** The first n tokens of keys or values, (1, heads, tokens, size). */
function cut({ data, dims }, n) {
  const kept = new Float32Array(dims[1] * n * dims[3]);
  for (let head = 0; head < dims[1]; head++) {
    const start = head * dims[2] * dims[3];
    kept.set(data.subarray(start, start + n * dims[3]), head * n * dims[3]);
  }
  return new ort.Tensor("float32", kept, [1, dims[1], n, dims[3]]);
}

// one question at a time: {open, config} or {ids}; the answer is {result} or {error}
addEventListener("message", async ({ data }) => {
  try {
    const result = data.ids ? await logits(data.ids) : await open(data.open, data.config);
    postMessage({ result });
  } catch (error) {
    postMessage({ error: error.message });
  }
});
