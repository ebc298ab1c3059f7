"""The GGUF file that llama.cpp and the programs around it read, and the Modelfile with which Ollama opens it."""

from pathlib import Path
from typing import Any

from checkpoint import model_folder, ollama
from checkpoint.llamacpp import quantize, quiet_llama
from model import GPTConfig
from runtime import atomic
from runtime.errors import InputError
from runtime.json_file import read_json_if_there
from tokenization import jinja_template
from tokenization.chat_template import BARRIER, ChatTags, ChatTemplate, PlainText, jinja_source, template_for

FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}  # what the package gguf writes -> general.file_type (enum llama_ftype)
# our names of tensors -> llama.cpp's
NAMES = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}
NAMES |= {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm"}
NAMES |= {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}


def export_gguf(folder: str, into: Path, weights: str) -> Path:
    """
    Write the model in `folder` to `into`, as NAME-WEIGHTS.gguf, whose path is returned, and a Modelfile beside it.
    Raises InputError where llama.cpp itself must make the weights (q4_0, q4_k_m) and its package is not installed.
    """
    path = into / f"{name_of(folder)}-{weights}.gguf"
    if weights in FILE_TYPES:
        config = write_gguf(path, folder, weights)
    else:
        quiet_llama()  # before the work, and not behind it
        with atomic.file(path) as new:
            plain = new.with_suffix(".f32")
            try:
                config = write_gguf(plain, folder, "f32")
                quantize(plain, new, weights)
            finally:
                plain.unlink(missing_ok=True)
    speech = model_folder.speech_folder(folder)
    sampling = read_json_if_there(speech / "generation_config.json")
    text = ollama.modelfile(path.name, config.block_size, sampling, is_ours=bool(model_folder.read_chat(speech)))
    with atomic.file(into / "Modelfile") as new:
        new.write_text(text, encoding="utf-8")
    return path


def name_of(folder: str | Path) -> str:
    """What a model is called: its folder's name, or its file's without the ending."""
    path = Path(folder).resolve()
    return path.stem if path.is_file() else path.name


def write_gguf(path: str | Path, folder: str | Path, weights: str = "f32") -> GPTConfig:
    """
    Write a model folder as a GGUF file at `path`: weights as one of FILE_TYPES, tokenizer, chat template, and how it
    is sampled; biases, norms and positions stay float32. The model's shape comes back. Raises InputError without the
    package gguf.
    """
    try:
        # pyright takes this very file for the package gguf
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, quants  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError:
        raise InputError("GGUF files are written with the package gguf: pip install gguf") from None

    model, tokenizer, chat = model_folder.load(folder)
    if model.config.activation != "gelu_new":
        raise InputError(f"{folder}: activation_function is {model.config.activation}, llama.cpp's GPT-2 has gelu_new")
    speech = model_folder.speech_folder(folder)
    template = template_for(speech, tokenizer, chat)
    writer = GGUFWriter(None, "gpt2")
    writer.add_name(name_of(folder))
    writer.add_file_type(FILE_TYPES[weights])
    writer.add_quantization_version(2)
    add_shape(writer, model.config, template.n_vocab)
    add_tokenizer(writer, template, speech)
    add_sampling(writer, speech)
    kind = GGMLQuantizationType[weights.upper()]
    for name, p in model.state_dict().items():
        name, _, part = name.rpartition(".")
        if name.startswith("transformer.h."):
            _, _, layer, module = name.split(".", 3)
            name = f"blk.{layer}.{NAMES[module]}"
        else:
            name, p = NAMES[name], p[: template.n_vocab] if name == "transformer.wte" else p
        fits = p.dim() == 2 and p.size(1) % GGML_QUANT_SIZES[kind][0] == 0  # rows of whole blocks
        if fits and name != "position_embd":
            writer.add_tensor(f"{name}.{part}", quants.quantize(p.float().numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.{part}", p.float().numpy())
    with atomic.file(path) as new:
        writer.write_header_to_file(new)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return model.config


def add_shape(writer: Any, config: GPTConfig, n_vocab: int) -> None:
    """The numbers that say how large the model is."""
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_inner)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(n_vocab)


def add_tokenizer(writer: Any, template: ChatTemplate, folder: Path) -> None:
    """
    The vocabulary, the chat template, and which ids end a reply. A special token of ours is spelled behind a BARRIER
    there, as in the template: nobody can type it, so that a tag that somebody types stays letters, as it does here.
    """
    from gguf import TokenType  # pyright: ignore[reportAttributeAccessIssue]

    tokenizer, content = template.tokenizer, template.tokenizer.to_json()
    is_ours = isinstance(template, ChatTags)
    texts = {token: text for text, token in content["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, TokenType.NORMAL)
    for text, token in tokenizer.added.items():
        texts[token.id] = BARRIER + text if is_ours and token.special else text
        kinds[token.id] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    ids = range(template.n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts.get(token, f"[PAD{token}]") for token in ids])
    writer.add_token_types([kinds.get(token, TokenType.UNUSED) for token in ids])
    writer.add_token_merges(content["model"]["merges"])
    writer.add_bos_token_id((template.opening or template.stop_token_ids)[0])
    ends = template.document_stop_ids if isinstance(template, PlainText) else template.stop_token_ids
    writer.add_eos_token_id(ends[0])
    writer.add_eot_token_id(ends[-1])  # llama.cpp ends a text at either
    writer.add_add_bos_token(False)  # the template has it
    source = jinja_source(BARRIER) if is_ours else jinja_template.find(folder)
    if isinstance(source, str):
        writer.add_chat_template(source)


def add_sampling(writer: Any, folder: Path) -> None:
    """How replies are sampled, of the folder's generation_config.json; newer versions of llama.cpp follow it."""
    settings = read_json_if_there(folder / "generation_config.json")
    names = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "penalty_repeat"}
    for name, theirs in names.items():
        if isinstance(settings.get(name), int | float):
            getattr(writer, f"add_sampling_{theirs}")(settings[name])
