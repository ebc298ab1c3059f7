"""
Each model is spoken to as it was taught: tags for ours, its own template where a folder has one, plain text for the
rest; what is supervised is the bot's words and their end, and a prompt is a prefix of the render in each.
"""

import json

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from checkpoint import model_folder
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from tokenization import chat_format
from tokenization import tokenizer as tokenizers
from tokenization.chat_template import ChatTags, FolderTemplate, PlainText, template_for

CHAT = [
    {"role": "system", "content": "you like cheetahs."},
    {"role": "user", "content": "hi, how are you?"},
    {"role": "assistant", "content": "great.\nand you?"},
    {"role": "user", "content": "fine"},
    {"role": "assistant", "content": "good!"},
]
DIALOGPT = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def gpt2():
    return tokenizers.load("gpt2")


@pytest.fixture(scope="module")
def dialogpt(tmp_path_factory, gpt2):
    """A folder as the hub's DialoGPT has it: a GPT-2, GPT-2's tokenizer, a chat template."""
    folder = tmp_path_factory.mktemp("dialogpt")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=128)).save_pretrained(folder)
    content = gpt2.to_json()
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] == gpt2.endoftext]
    for token in ("[System]:", "[Human]:", "[Bot]:", "<|endofturn|>"):
        del content["model"]["vocab"][token]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "chat_template": DIALOGPT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def spoken(template, messages):
    """The supervised text of each run of supervised ids."""
    ids, supervised = template.render(messages)
    assert len(ids) == len(supervised)
    runs, run = [], []
    for token_id, learned in [*zip(ids, supervised, strict=True), (0, 0)]:
        if learned:
            run.append(token_id)
        elif run:
            runs.append(template.tokenizer.decode(run))
            run = []
    return runs


def test_our_template_is_the_chat_format(gpt2):
    """ChatTags renders exactly as chat_format.py does."""
    template = ChatTags(gpt2)
    assert template.render(CHAT) == chat_format.render(CHAT, gpt2)
    assert template.prompt(CHAT[:2]) == chat_format.prompt(CHAT[:2], gpt2)


def test_plain_text_is_what_people_read(gpt2):
    """The letters of the tags, a line a turn, no id that the model was never given; a newline ends a reply."""
    template = PlainText(gpt2)
    ids, _ = template.render(CHAT)
    assert gpt2.decode(ids[1:]) == (
        "[System]: you like cheetahs.\n[Human]: hi, how are you?\n[Bot]: great. and you?\n[Human]: fine\n[Bot]: good!\n"
    )
    assert max(ids) < template.n_vocab == 50257 and set(template.suppress_tokens) == set(range(50257, gpt2.n_vocab))
    assert spoken(template, CHAT) == [" great. and you?\n", " good!\n"]
    assert {gpt2.endoftext, 198, 628} <= set(template.stop_token_ids)
    assert gpt2.encode(" ")[0] not in template.stop_token_ids


def test_a_folders_own_template_is_transformers(dialogpt, gpt2):
    """The ids are transformers' own for the folder; each turn ends with <|endoftext|>."""
    template = template_for(dialogpt, tokenizers.load(dialogpt), {})
    assert isinstance(template, FolderTemplate)
    theirs = AutoTokenizer.from_pretrained(dialogpt)
    assert template.render(CHAT)[0] == theirs.apply_chat_template(CHAT, return_dict=False)
    assert spoken(template, CHAT) == ["great.\nand you?<|endoftext|>", "good!<|endoftext|>"]
    assert template.stop_token_ids == (gpt2.endoftext,)


@pytest.mark.parametrize("kind", [ChatTags, PlainText, FolderTemplate])
def test_a_prompt_and_a_reply_are_the_render(kind, dialogpt, gpt2):
    """In each template, a prompt followed by the ids of the reply is the render of both."""
    template = kind(gpt2, dialogpt) if kind is FolderTemplate else kind(gpt2)
    for n in (2, 4):
        whole, supervised = template.render(CHAT[: n + 1])
        assert template.prompt(CHAT[:n]) + template.reply(CHAT[n]["content"]) == whole
        assert sum(supervised[len(template.prompt(CHAT[:n])) :]) == len(template.reply(CHAT[n]["content"]))


def test_a_folder_is_told_apart(tmp_path, dialogpt, gpt2, tiny, tokens):
    """chat.json: ours. A template: the folder's. Neither: plain text; the engine opens each and speaks with it."""
    model_folder.save(tmp_path / "ours", tiny, tokens, {"iters": 1})
    assert isinstance(template_for(tmp_path / "ours", tokens, {"format": 1}), ChatTags)
    assert isinstance(template_for(dialogpt, gpt2, {}), FolderTemplate)
    assert isinstance(template_for(tmp_path, gpt2, {}), PlainText)
    bare = tmp_path / "bare"
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=128)).save_pretrained(bare)
    for folder, kind in ((tmp_path / "ours", ChatTags), (dialogpt, FolderTemplate), (bare, PlainText)):
        opened, _ = open_engine(EngineConfig(init_from=str(folder)))
        assert type(opened.template) is kind
        asked = [{"role": "user", "content": "hi"}]
        pieces = list(opened.reply(asked, SamplingParams(seed=1, max_new_tokens=30)))
        text = "".join(piece.text for piece in pieces)
        assert pieces[-1].reason and not any(tag in text for tag in ("[Bot]:", "<|endoftext|>"))
