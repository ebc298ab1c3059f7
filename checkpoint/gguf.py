"""The GGUF file that llama.cpp and the programs around it read."""

from pathlib import Path

from checkpoint import model_folder
from runtime import atomic
from tokenization import jinja_template


def write_gguf(path: str | Path, folder: str | Path) -> None:
    """Write a model folder as a GGUF file at `path`: weights in float32, tokenizer and chat template."""
    # pyright takes this very file for the package gguf
    from gguf import GGUFWriter, TokenType  # pyright: ignore[reportAttributeAccessIssue]

    model, tokenizer, _ = model_folder.load(folder)
    config = model.config
    writer = GGUFWriter(None, "gpt2")
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(config.vocab_size)

    content = tokenizer.to_json()
    texts, special = {token: text for text, token in content["model"]["vocab"].items()}, tokenizer.special.values()
    kinds = {token: TokenType.CONTROL if token in special else TokenType.NORMAL for token in texts}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts.get(token, f"[PAD{token}]") for token in range(config.vocab_size)])
    writer.add_token_types([kinds.get(token, TokenType.UNUSED) for token in range(config.vocab_size)])
    writer.add_token_merges(content["model"]["merges"])
    writer.add_bos_token_id(tokenizer.endoftext)
    writer.add_eos_token_id(tokenizer.end_of_turn)
    writer.add_add_bos_token(False)  # the template has it
    template = jinja_template.find(folder)
    if isinstance(template, str):
        writer.add_chat_template(template)

    names = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}
    names |= {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm"}
    names |= {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    for name, p in model.state_dict().items():
        name, _, kind = name.rpartition(".")
        if name.startswith("transformer.h."):
            _, _, layer, part = name.split(".", 3)
            name = f"blk.{layer}.{names[part]}"
        else:
            name, p = names[name], p[: config.vocab_size] if name == "transformer.wte" else p
        writer.add_tensor(f"{name}.{kind}", p.numpy())
    with atomic.file(path) as new:
        writer.write_header_to_file(new)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
