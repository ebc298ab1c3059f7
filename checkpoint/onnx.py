"""
ONNX files of a model, for onnxruntime and what is built on it: in Python, in a browser, on a phone.

    write_onnx("out-chat", "out-chat-onnx", "float32")      # out-chat-onnx/onnx/model.onnx
    write_onnx("out-chat", "out-chat-onnx", "int8")         # out-chat-onnx/onnx/model_quantized.onnx

The graph is GPT-2 with its cache as inputs and outputs, in the names that optimum and Transformers.js gave them, so
that both read the folder: input_ids, attention_mask, position_ids and past_key_values.N.key and .value go in, logits
and present.N.key and .value come out. B stands for sequences, T for new tokens, P for those that the cache holds.

All operators are the standard's. In int8 the weights of the linear layers and the embedding are kept in blocks of 32
numbers with a scale: ten times nearer to the model than onnxruntime's dynamic quantisation, which rounds what goes
through the layers as well. onnxruntime turns them into its own products of int8 (MatMulNBits) when it opens the file.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import model_folder, plain_folder
from model import GPT, GPTConfig
from runtime import atomic
from runtime.errors import InputError
from runtime.json_file import read_json_if_there
from runtime.version import version

FILES = {"float32": "model.onnx", "int8": "model_quantized.onnx"}  # as Transformers.js looks for fp32 and q8
# LayerNormalization came with 17, Gelu with 20, scales in blocks with 21: onnxruntime has all of them since 1.20
OPSET, IR_VERSION = 21, 10
FLOAT, INT64, BOOL = 1, 7, 9  # TensorProto.DataType
PAST = "past_key_values."
BLOCK = 32  # numbers that share a scale in int8; onnxruntime has fast products for 16, 32, 64, ...
MASKED = -1e9  # added to the scores of what a token does not see; finite: a row may see nothing
MAX_FILE = 1_900_000_000  # bytes; protobuf ends at 2 GiB, larger weights go to a file beside it
WEIGHTS_FILE = "_data"  # the end of that file's name, as Transformers.js looks for it


def write_onnx(folder: str | Path, target: str | Path, weights: str = "float32") -> Path:
    """
    Write a model folder, or whatever else model_folder.load reads, as an ONNX file in the folder `target`, with the
    configuration and the tokenizer beside it; the path of the file. Raises InputError.
    """
    if weights not in FILES:
        raise InputError(f"ONNX files are written in {' or '.join(FILES)}, not {weights}")
    try:
        from onnx import save_model  # pyright: ignore[reportAttributeAccessIssue] -- to pyright this file is onnx
    except ImportError:
        raise InputError("ONNX files need the package onnx; install it: pip install onnx onnxruntime") from None
    loaded = model_folder.load(folder)
    template = plain_folder.template_of(folder, loaded)
    proto = graph(loaded.model, weights, template.n_vocab)
    path = Path(target) / "onnx" / FILES[weights]
    with atomic.folder(path.parent) as new:
        if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > MAX_FILE:
            save_model(proto, new / path.name, save_as_external_data=True, location=path.name + WEIGHTS_FILE)
        else:
            save_model(proto, new / path.name)
    if not Path(folder).is_dir() or Path(target).resolve() != Path(folder).resolve():
        with atomic.folder(target) as new:
            plain_folder.write_speech(new, folder, loaded, template)
    return path


class Graph:
    """The nodes and the tensors of an ONNX graph as they are added; a value is the name it has in the graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}

    def __call__(self, operator: str, *inputs: str, outputs: tuple[str, ...] = ("",), **attributes: Any) -> Any:
        """A node, and the name of its output; of several a tuple. outputs: their names, "" for any."""
        from onnx import helper  # pyright: ignore[reportAttributeAccessIssue]

        number = len(self.nodes)
        names = [name or f"{operator}_{number}_{i}" for i, name in enumerate(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if len(names) == 1 else tuple(names)

    def tensor(self, name: str, values: np.ndarray) -> str:
        """A tensor of the file."""
        self.tensors[name] = np.ascontiguousarray(values)
        return name

    def constant(self, value: Any) -> str:
        """A number or a few, for operators that take them as inputs: integers are int64, others float32."""
        values = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        return self.tensor(f"constant_{value}".replace(" ", ""), values)


def graph(model: GPT, weights: str, n_vocab: int) -> Any:
    """The ONNX model of a GPT, an onnx.ModelProto, with logits of the first n_vocab ids."""
    g, config = Graph(), model.config
    parameters = {name.removeprefix("transformer."): p.numpy() for name, p in model.state_dict().items()}
    parameters["wte.weight"] = parameters["wte.weight"][:n_vocab]
    linear = linear_int8 if weights == "int8" else linear_float32
    embedded = embedding_int8 if weights == "int8" else embedding_float32

    def norm(x: str, name: str) -> str:
        scale, bias = (g.tensor(f"{name}.{kind}", parameters[f"{name}.{kind}"]) for kind in ("weight", "bias"))
        return g("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)

    def layer(x: str, name: str) -> str:
        bias = g.tensor(f"{name}.bias", parameters[f"{name}.bias"])
        return g("Add", linear(g, x, f"{name}.weight", parameters[f"{name}.weight"]), bias)

    positions = g("Gather", g.tensor("wpe.weight", parameters["wpe.weight"]), "position_ids")
    x = g("Add", embedded(g, parameters["wte.weight"]), positions)
    mask = attention_mask(g)
    for i in range(config.n_layer):
        y = attention(g, layer(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), mask, i, config)
        x = g("Add", x, layer(y, f"h.{i}.attn.c_proj"))
        y = activation(g, layer(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), config.activation)
        x = g("Add", x, layer(y, f"h.{i}.mlp.c_proj"))
    logits = linear(g, norm(x, "ln_f"), "wte.weight", parameters["wte.weight"])
    g("Identity", logits, outputs=("logits",))
    return as_model(g, config, n_vocab)


def activation(g: Graph, x: str, name: str) -> str:
    """One of model.ACTIVATIONS."""
    if name == "silu":
        return g("Mul", x, g("Sigmoid", x))
    if name in ("relu", "tanh"):
        return g(name.capitalize(), x)
    return g("Gelu", x, approximate="tanh" if name == "gelu_new" else "none")


def attention_mask(g: Graph) -> str:
    """(B, 1, T, P + T), what is added to a score: 0 where a token sees a key, that is its own and earlier ones."""
    zero, one = g.constant(0), g.constant(1)
    n_new = g("Squeeze", g("Shape", "input_ids", start=1, end=2))
    n_past = g("Squeeze", g("Shape", f"{PAST}0.key", start=2, end=3))
    n_keys = g("Add", n_past, n_new)
    queries = g("Unsqueeze", g("Range", n_past, n_keys, one), g.constant([1]))  # (T, 1)
    earlier = g("LessOrEqual", g("Range", zero, n_keys, one), queries)
    real = g("Unsqueeze", g("Cast", "attention_mask", to=BOOL), g.constant([1, 2]))  # no padding: (B, 1, 1, P + T)
    return g("Where", g("And", earlier, real), g.constant(0.0), g.constant(MASKED))


def attention(g: Graph, qkv: str, mask: str, i: int, config: GPTConfig) -> str:
    """Layer i's attention (B, T, n_embd) of its qkv (B, T, 3 n_embd) and the cache, to which T tokens are added."""
    n_head, head_size = config.n_head, config.n_embd // config.n_head
    per_head, joined = g.constant([0, 0, n_head, head_size]), g.constant([0, 0, config.n_embd])
    parts = g("Split", qkv, outputs=("", "", ""), axis=-1, num_outputs=3)
    q, k, v = (g("Transpose", g("Reshape", part, per_head), perm=[0, 2, 1, 3]) for part in parts)
    k, v = (
        g("Concat", f"{PAST}{i}.{kind}", new, outputs=(f"present.{i}.{kind}",), axis=2)
        for kind, new in (("key", k), ("value", v))
    )  # (B, n_head, P + T, head_size)
    q = g("Mul", q, g.constant(head_size**-0.5))
    scores = g("Add", g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2])), mask)
    y = g("MatMul", g("Softmax", scores, axis=-1), v)
    return g("Reshape", g("Transpose", y, perm=[0, 2, 1, 3]), joined)


def embedding_float32(g: Graph, weight: np.ndarray) -> str:
    """The rows (B, T, n_embd) of the ids."""
    return g("Gather", g.tensor("wte.weight", weight), "input_ids")


def linear_float32(g: Graph, x: str, name: str, weight: np.ndarray) -> str:
    """x (B, T, n_in) times a weight (n_out, n_in). One that the file has already, the embedding, is turned as it is."""
    if name in g.tensors:
        return g("MatMul", x, g("Transpose", name, perm=[1, 0]))
    return g("MatMul", x, g.tensor(name, weight.T))


def embedding_int8(g: Graph, weight: np.ndarray) -> str:
    """The rows (B, T, n_embd) of the ids, from the numbers that the head multiplies by as well."""
    values, scales = (g("Gather", tensor, "input_ids") for tensor in int8_tensors(g, "wte.weight", weight))
    blocks = g("Reshape", g("Cast", values, to=FLOAT), g.constant([0, 0, -1, block_size(weight)]))
    return g("Reshape", g("Mul", blocks, g("Unsqueeze", scales, g.constant([-1]))), g.constant([0, 0, -1]))


def linear_int8(g: Graph, x: str, name: str, weight: np.ndarray) -> str:
    """x (B, T, n_in) times a weight (n_out, n_in) in int8."""
    values, scales = (g("Transpose", tensor, perm=[1, 0]) for tensor in int8_tensors(g, name, weight))
    return g("MatMul", x, g("DequantizeLinear", values, scales, axis=0, block_size=block_size(weight)))


def int8_tensors(g: Graph, name: str, weight: np.ndarray) -> tuple[str, str]:
    """(values (n_out, n_in), scales (n_out, blocks)) of a weight (n_out, n_in), which is their product."""
    names = f"{name}.values", f"{name}.scales"
    if names[0] not in g.tensors:
        blocks = weight.reshape(len(weight), -1, block_size(weight))
        scales = np.abs(blocks).max(axis=2) / 127
        g.tensor(
            names[0],
            np.rint(blocks / np.where(scales == 0, 1, scales)[..., None]).astype(np.int8).reshape(weight.shape),
        )
        g.tensor(names[1], scales)
    return names


def block_size(weight: np.ndarray) -> int:
    """How many numbers of a row share a scale: BLOCK, or for a width that this does not divide what does."""
    return math.gcd(weight.shape[1], BLOCK)


def as_model(g: Graph, config: GPTConfig, n_vocab: int) -> Any:
    """An onnx.ModelProto: the nodes and tensors with the names, types and shapes of what goes in and comes out."""
    from onnx import helper, numpy_helper  # pyright: ignore[reportAttributeAccessIssue]

    B, T, P, all_keys = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
    new = {"input_ids": [B, T], "attention_mask": [B, all_keys], "position_ids": [B, T]}
    past, present = {}, {}
    for i, kind in itertools.product(range(config.n_layer), ("key", "value")):
        past[f"{PAST}{i}.{kind}"] = [B, config.n_head, P, config.n_embd // config.n_head]
        present[f"present.{i}.{kind}"] = [B, config.n_head, all_keys, config.n_embd // config.n_head]
    inputs = [helper.make_tensor_value_info(name, INT64, shape) for name, shape in new.items()]
    inputs += [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in past.items()]
    results = {"logits": [B, T, n_vocab], **present}
    outputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in results.items()]
    tensors = [numpy_helper.from_array(values, name) for name, values in g.tensors.items()]
    return helper.make_model(
        helper.make_graph(g.nodes, "gpt2", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nanoChatGPT",
        producer_version=version(),
    )


class OnnxRuntime:
    """
    An ONNX file, opened by onnxruntime on the CPU.

        engine = OnnxRuntime("out-chat-onnx/onnx/model.onnx", threads=2)
        reply = engine.greedy(template.prompt(messages), 200)

    What ends a reply, `stop_token_ids`, is said by the generation_config.json, or config.json, of its folder.
    """

    def __init__(self, path: str | Path, threads: int) -> None:
        import onnxruntime  # pyright: ignore[reportMissingImports] -- optional

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.path = Path(path)
        self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        folder = self.path.parents[1]
        ends = {**read_json_if_there(folder / "config.json"), **read_json_if_there(folder / "generation_config.json")}
        eos = ends.get("eos_token_id", [])
        self.stop_token_ids = eos if isinstance(eos, list) else [eos]
        weights = next((weights for weights, name in FILES.items() if name == Path(path).name), "")
        self.label = f"onnxruntime {onnxruntime.__version__}, {weights}"

    def forward(self, ids: list[int], past: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(logits (T, n_vocab) of the ids that follow what is past, the past with them); {} is the beginning."""
        if not past:
            caches = (each for each in self.session.get_inputs() if each.name.startswith(PAST))
            past = {each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32) for each in caches}
        n = len(ids) + next(iter(past.values())).shape[2]
        new = {"input_ids": [ids], "attention_mask": [[1] * n], "position_ids": [list(range(n - len(ids), n))]}
        feeds = {name: np.array(values, np.int64) for name, values in new.items()}
        logits, *present = self.session.run(None, feeds | past)
        return logits[0], dict(zip(past, present, strict=True))

    def logits(self, ids: list[int]) -> np.ndarray:
        """(T, n_vocab) float32: after each of the ids, how likely each id is to follow."""
        return self.forward(ids, {})[0]

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """The likeliest ids that follow, `n` at most, up to one of stop_token_ids."""
        reply: list[int] = []
        new, past = ids, {}
        while len(reply) < n:
            logits, past = self.forward(new, past)
            new = [int(logits[-1].argmax())]
            if new[0] in self.stop_token_ids:
                break
            reply += new
        return reply
