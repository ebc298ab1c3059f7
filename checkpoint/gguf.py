"""The GGUF file that llama.cpp and the programs around it read."""

import json
from pathlib import Path

from checkpoint import model_folder
from runtime import atomic


def write_gguf(path, folder):
    """Write a model folder as a GGUF file: weights in float32, tokenizer and chat template."""
    from gguf import GGUFWriter, TokenType

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
    texts, special = {id: text for text, id in content["model"]["vocab"].items()}, tokenizer.special.values()
    kinds = {id: TokenType.CONTROL if id in special else TokenType.NORMAL for id in texts}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts.get(id, f"[PAD{id}]") for id in range(config.vocab_size)])
    writer.add_token_types([kinds.get(id, TokenType.UNUSED) for id in range(config.vocab_size)])
    writer.add_token_merges(content["model"]["merges"])
    writer.add_bos_token_id(tokenizer.endoftext)
    writer.add_eos_token_id(tokenizer.end_of_turn)
    writer.add_add_bos_token(False)  # the template has it
    about = Path(folder, "tokenizer_config.json")
    template = json.loads(about.read_text(encoding="utf-8")).get("chat_template") if about.exists() else None
    if template:
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
