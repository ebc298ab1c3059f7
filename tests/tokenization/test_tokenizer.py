"""
Text survives the tokenizer whole, its ids are those of GPT-2 (tiktoken and Hugging Face are the oracles), and no text
becomes a special token.
"""

import base64
import gzip
import json

import pytest
import tiktoken
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import InputError
from tokenization import tokenizer as tokenizers

SPECIAL = ["<|endoftext|>", "[System]:", "[Human]:", "[Bot]:", "<|endofturn|>"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)  # all of Unicode but lone surrogates
# what people write, and what finds mistakes: contractions, runs of spaces and of one letter, emoji, special tokens
PIECES = st.lists(
    st.sampled_from(
        [*SPECIAL, " ", "  ", "\n", "\t", "'s", "'LL", "aaaa", "a", "!!", "…", "é", "👩‍👩‍👧", "日本", "42", "ß", "\0"]
    )
    | st.text(max_size=5)
    | TEXT,
    max_size=8,
).map(lambda pieces: "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.py"))]
KNOWN = {  # published examples of GPT-2's encoding
    "Hello world": [15496, 995],
    " world": [995],
    "Hello, I'm a language model,": [15496, 11, 314, 1101, 257, 3303, 2746, 11],
    "\n\n": [628],
    "": [],
}


@pytest.fixture(scope="module")
def gpt2():
    return tokenizers.load("gpt2")


@pytest.fixture(scope="module")
def learned():
    """A BPE of 1,000 tokens, trained on this project's own words."""
    return tokenizers.train(iter(TEXTS), 1000)


@pytest.fixture(scope="module")
def gpt2_oracle(gpt2):
    """tiktoken with GPT-2's pattern as OpenAI publishes it, and the ranks of assets/."""
    pattern = r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    lines = gzip.decompress((ROOT / "assets" / "gpt2.tiktoken.gz").read_bytes()).splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    return tiktoken.Encoding("oracle", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})


def huggingface(tokenizer, folder):
    """transformers' own tokenizer, read from the tokenizer.json that we write, as AutoTokenizer finds it."""
    from transformers import AutoTokenizer

    (folder / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()), encoding="utf-8")
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt2", "learned"])
def test_decode_undoes_encode(name, request):
    """Any Unicode text, emoji, newlines and special tokens' letters included, comes back as it was."""
    tokenizer = request.getfixturevalue(name)

    @settings(max_examples=500, deadline=None)
    @given(PIECES)
    def check(text):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not set(ids) & set(tokenizer.special.values())

    check()


def test_every_character_survives(gpt2):
    """Each of Unicode's characters, alone and in one text of more than a million, comes back."""
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    assert len(everything) > tokenizers.MAX_RUN
    assert gpt2.decode(gpt2.encode(everything)) == everything
    assert gpt2.decode(gpt2.encode("a" * 300_000)) == "a" * 300_000


def test_a_lone_surrogate_does_no_harm(gpt2):
    """Half a UTF-16 pair, which JSON and a terminal can give, becomes U+FFFD; a whole pair its character."""
    assert gpt2.decode(gpt2.encode("a\ud800b")) == "a\ufffdb"
    assert gpt2.decode(gpt2.encode("\ud83d\udc06")) == "🐆"


def test_ids_are_gpt2s(gpt2, gpt2_oracle):
    """The published examples, and tiktoken with the published pattern, for any text."""
    for text, ids in KNOWN.items():
        assert gpt2.encode(text) == ids

    @settings(max_examples=500, deadline=None)
    @given(PIECES)
    def check(text):
        assert gpt2.encode(text) == gpt2_oracle.encode_ordinary(text)

    check()


@pytest.mark.parametrize("name", ["gpt2", "learned"])
def test_huggingface_reads_the_same_ids(name, request, tmp_path):
    """
    transformers encodes any text to our ids from the tokenizer.json that we write. Where the text holds a special
    token's letters, it must be told that they are letters; and untold it takes each for the one id that we place.
    """
    tokenizer = request.getfixturevalue(name)
    oracle = huggingface(tokenizer, tmp_path)
    assert len(oracle) == tokenizer.n_vocab
    assert oracle(" ".join(SPECIAL)).input_ids == [
        id
        for token in SPECIAL
        for id in ([] if token == SPECIAL[0] else tokenizer.encode(" ")) + [tokenizer.special[token]]
    ]

    @settings(max_examples=500, deadline=None)
    @given(PIECES)
    def check(text):
        ids = tokenizer.encode(text)
        assert oracle(text, split_special_tokens=True).input_ids == ids
        assert oracle.decode(ids) == text

    check()


def test_special_ids(gpt2, learned):
    """GPT-2 keeps its 50,257 ids and gets the chat's four behind them; a trained BPE has all five at its end."""
    assert (gpt2.endoftext, gpt2.system, gpt2.human, gpt2.bot, gpt2.end_of_turn, gpt2.n_vocab) == (
        50256,
        50257,
        50258,
        50259,
        50260,
        50261,
    )
    assert gpt2.n_base_vocab == 50257
    assert [learned.endoftext, learned.system, learned.human, learned.bot, learned.end_of_turn] == list(
        range(995, 1000)
    )
    assert learned.n_vocab == 1000
    assert gpt2.decode([gpt2.bot, gpt2.end_of_turn, gpt2.endoftext]) == "[Bot]:\n<|endoftext|>"


@pytest.mark.parametrize("name", ["gpt2", "learned"])
def test_no_text_makes_a_special_token(name, request):
    """The letters of a special token are encoded as letters."""
    tokenizer = request.getfixturevalue(name)
    for token in SPECIAL:
        for text in (token, f" {token}", f"{token}{token}", f"a{token}\n"):
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text and not set(ids) & set(tokenizer.special.values())


@pytest.mark.parametrize("name", ["gpt2", "learned"])
def test_streaming_never_shows_half_a_character(name, request):
    """Token by token, each piece is whole characters of the text; together they are all of it."""
    tokenizer = request.getfixturevalue(name)
    assert len(tokenizer.encode("🐆")) > 1

    @settings(max_examples=300, deadline=None)
    @given(PIECES)
    def check(text):
        decode, shown = tokenizer.decoder(), ""
        for id in tokenizer.encode(text):
            shown += decode(id)
            assert text.startswith(shown)
        assert decode(None) == "" and shown == text

    check()


def test_a_stream_that_breaks_off(gpt2):
    """Half a character at the end shows as U+FFFD when the end is told, and not before."""
    decode = gpt2.decoder()
    first, *_ = gpt2.encode("🐆")
    assert decode(first) == "" and decode(None) == "\ufffd"


def test_training_learns_from_the_texts(learned, gpt2):
    """A trained BPE spends fewer tokens on text like its own than bytes would; the same texts give the same tokens."""
    assert len(learned.encode(TEXTS[0])) < len(TEXTS[0].encode()) / 2
    again = tokenizers.train(iter(TEXTS), 1000)
    assert again.hash == learned.hash != gpt2.hash
    assert (learned.name, gpt2.name) == ("bpe-1000", "gpt2")


def test_few_texts_give_fewer_tokens():
    """Where there is little to learn there are fewer tokens, and still every byte."""
    few = tokenizers.train(["abc"], 5000)
    assert few.n_vocab < 300 and few.decode(few.encode("日本 🐆")) == "日本 🐆"


@pytest.mark.parametrize("n", [0, 260, 2**16 + 1])
def test_impossible_sizes_are_refused(n):
    """A vocabulary must hold the bytes and tags, and fit in uint16."""
    with pytest.raises(InputError, match=f"train:{n}: between 261"):
        tokenizers.train(["abc"], n)


@pytest.mark.parametrize("name", ["gpt2", "learned"])
def test_a_saved_tokenizer_is_the_same(name, request, tmp_path):
    """tokenizer.json read back has the same tokens and ids, and so the same hash."""
    tokenizer = request.getfixturevalue(name)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()), encoding="utf-8")
    again = tokenizers.load(tmp_path)
    assert (again.hash, again.name, again.n_vocab) == (tokenizer.hash, tokenizer.name, tokenizer.n_vocab)
    assert again.encode("I'm here 🐆") == tokenizer.encode("I'm here 🐆")


def test_the_hash_tells_tokenizers_apart(gpt2):
    """Two tokens that change places, or another special token, give another hash."""
    ranks = dict(gpt2.ranks)
    ranks[b"a"], ranks[b"b"] = ranks[b"b"], ranks[b"a"]
    assert (
        len({gpt2.hash, tokenizers.Tokenizer(ranks).hash, tokenizers.Tokenizer(gpt2.ranks, {"[PAD]": 50256}).hash}) == 3
    )


def test_a_foreign_gpt2_folder_loads(gpt2, tmp_path):
    """GPT-2's old vocab.json, without our tokens, gives GPT-2's ids with ours behind."""
    content = gpt2.to_json()["model"]["vocab"]
    vocab = {token: id for token, id in content.items() if id <= 50256}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    assert tokenizers.load(tmp_path).hash == gpt2.hash


def changed(**changes):
    def change(content):
        for name, value in changes.items():
            content["model" if name in content["model"] else "pre_tokenizer"] |= {name: value}

    return change


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda content: content.update(pre_tokenizer=None), "it splits text in another way"),
        (lambda content: content.update(normalizer={"type": "NFC"}), "it splits text in another way"),
        (changed(use_regex=False), "it splits text in another way"),
        (changed(add_prefix_space=True), "it puts a space before the text"),
        (lambda content: content["model"]["merges"].reverse(), "its ids are not in the order of its merges"),
        (changed(vocab={"a": 0}, merges=[]), "a byte has no token"),
        (lambda content: content.pop("added_tokens"), "'added_tokens'"),
    ],
)
def test_a_tokenizer_that_we_would_run_otherwise_is_refused(learned, tmp_path, change, reason):
    """One that splits, pads or merges in another way than GPT-2's would give wrong ids in silence."""
    content = json.loads(json.dumps(learned.to_json()))
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="its tokenizer is not a byte-level BPE as GPT-2's") as error:
        tokenizers.load(tmp_path)
    assert reason in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"model": 1}'])
def test_a_damaged_tokenizer_is_one_line(tmp_path, content):
    """Whatever the file holds, the error is one line."""
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        tokenizers.load(tmp_path)
    assert "\n" not in str(error.value)


def test_no_tokenizer(tmp_path):
    """A folder without one says what would do."""
    with pytest.raises(InputError, match=r"has no tokenizer \(tokenizer.json, or vocab.json\); say gpt2"):
        tokenizers.load(tmp_path)
