"""
Bytes to ids and back: GPT-2's byte-pair encoding or one trained on the data at hand, both run by tiktoken.

    tokenizer = load("gpt2")                # from assets/, never from the network
    tokenizer = load("out-chat")            # from the tokenizer.json of a data or model folder
    tokenizer = train(texts, n_vocab=8192)  # a new one; the `tokenizers` library learns the merges

The five special tokens (special_tokens.py) are not text. `encode` never returns them, whatever the text says: they are
placed as ids, and only by chat_format.py.
"""

import base64
import codecs
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tiktoken

from runtime.errors import InputError
from tokenization.special_tokens import END_OF_TURN, ENDOFTEXT, ROLE_TAGS

# GPT-2's regular expression for words, from its published encoder: contractions, letters, digits, the rest, white space
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
SPECIAL_TOKENS = (ENDOFTEXT, *ROLE_TAGS.values(), END_OF_TURN)
ASSETS = Path(__file__).parents[1] / "assets"
MAX_RUN = 100_000  # characters encoded at a time: tiktoken's regex backtracks over the whole of a very long word


def byte_letters() -> list[str]:
    """How GPT-2 spells bytes in JSON: 256 printable letters, index = byte (Radford et al. 2019, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return letters


class Tokenizer:
    """
    A byte-level BPE with the five special tokens of a chat.

    ranks: a token's bytes -> its id, in the order of the merges; the ids need not be dense.
    special: a special token's text -> its id. Those of SPECIAL_TOKENS that are missing get the next free ids.
    """

    def __init__(self, ranks: dict[bytes, int], special: Mapping[str, int] | None = None) -> None:
        special = dict(special or {})
        self.n_base_vocab = max([*ranks.values(), *special.values()]) + 1  # ids from here on are added for the chat
        for token in SPECIAL_TOKENS:
            special.setdefault(token, max([*ranks.values(), *special.values()]) + 1)
        self.ranks = ranks
        self.special = special
        self.n_vocab = max([*ranks.values(), *special.values()]) + 1
        self.endoftext = special[ENDOFTEXT]
        self.system, self.human, self.bot = (special[tag] for tag in ROLE_TAGS.values())
        self.end_of_turn = special[END_OF_TURN]
        self.encoding = tiktoken.Encoding("chat", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
        self.bytes = {token_id: token for token, token_id in ranks.items()}
        self.bytes.update({token_id: token.encode() for token, token_id in special.items()})
        self.bytes[self.end_of_turn] = b"\n"

    @property
    def hash(self) -> str:
        """16 hex digits over all tokens and their ids. A data folder and a model must have the same."""
        digest = hashlib.sha256()
        for token_id in sorted(self.bytes):
            digest.update(b"%d %s\n" % (token_id, base64.b64encode(self.bytes[token_id])))
        return digest.hexdigest()[:16]

    @property
    def name(self) -> str:
        """gpt2, or bpe-8192 for another of 8,192 tokens."""
        return "gpt2" if len(self.ranks) == 50256 and self.endoftext == 50256 else f"bpe-{self.n_vocab}"

    def encode(self, text: str) -> list[int]:
        """The ids of ordinary text; the spelling of a special token in it is encoded as letters."""
        if len(text) <= MAX_RUN:
            return self.encoding.encode_ordinary(text)
        runs = (text[i : i + MAX_RUN] for i in range(0, len(text), MAX_RUN))
        return [token_id for run in runs for token_id in self.encoding.encode_ordinary(run)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. A tag reads as it is spelled, end-of-turn as a newline; broken UTF-8 gives U+FFFD."""
        return b"".join(self.bytes.get(token_id, b"") for token_id in ids).decode("utf-8", errors="replace")

    def decoder(self) -> Callable[[int | None], str]:
        """
        A function that decodes a stream: given the next id it returns the text that is now complete, and holds back
        half a character. None ends the stream and returns what was held back (U+FFFD).
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

        def decode_next(token_id: int | None) -> str:
            return (
                decoder.decode(b"", final=True) if token_id is None else decoder.decode(self.bytes.get(token_id, b""))
            )

        return decode_next

    def plain_ids(self, token_id: int) -> list[int]:
        """The ordinary ids of a special token's text: a tag's letters, a newline for end-of-turn."""
        return self.encode("\n" if token_id == self.end_of_turn else self.bytes.get(token_id, b"\n").decode())

    def to_json(self) -> dict[str, Any]:
        """This tokenizer as the content of Hugging Face's tokenizer.json."""
        letters = byte_letters()
        spelled = {token: "".join(letters[byte] for byte in token) for token in self.ranks}
        # tiktoken merges any two neighbours that together are a token, so each way to split a token in two is a merge
        merges = [
            f"{spelled[token[:i]]} {spelled[token[i:]]}"
            for token in sorted(self.ranks, key=self.ranks.__getitem__)
            for i in range(1, len(token))
            if token[:i] in spelled and token[i:] in spelled
        ]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        added = [
            {"id": token_id, "content": text, **flags}
            for text, token_id in sorted(self.special.items(), key=lambda item: item[1])
        ]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {spelled[token]: token_id for token, token_id in self.ranks.items()} | self.special,
                "merges": merges,
            },
        }


def load(name: str | Path) -> Tokenizer:
    """
    The tokenizer called `name`: "gpt2", or a folder that holds a tokenizer.json or GPT-2's vocab.json.
    Raises InputError if there is none, or if it is not a byte-level BPE that works as GPT-2's does.
    """
    if str(name) == "gpt2":
        lines = gzip.decompress((ASSETS / "gpt2.tiktoken.gz").read_bytes()).splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
        return Tokenizer(ranks, {ENDOFTEXT: len(ranks)})
    folder = Path(name)
    try:
        if (folder / "tokenizer.json").exists():
            content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            vocab = content["model"]["vocab"]
            check_gpt2_like(content)
            special = {token["content"]: token["id"] for token in content["added_tokens"]}
        else:
            vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            special = {ENDOFTEXT: vocab[ENDOFTEXT]}
        byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        ranks = {bytes(byte_of[c] for c in token): i for token, i in vocab.items() if token not in special}
        if len(ranks) < 256 or any(bytes([byte]) not in ranks for byte in range(256)):
            raise KeyError("a byte has no token")
        return Tokenizer(ranks, special)
    except FileNotFoundError:
        raise InputError(
            f"{name} has no tokenizer (tokenizer.json, or vocab.json); say gpt2 or a model folder"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: its tokenizer is not a byte-level BPE as GPT-2's ({error})") from None


def check_gpt2_like(content: dict[str, Any]) -> None:
    """Raise ValueError if a tokenizer.json splits or merges text otherwise than tiktoken does with GPT-2's pattern."""
    splitter = content["pre_tokenizer"] or {}
    if content["normalizer"] or splitter.get("type") != "ByteLevel" or not splitter.get("use_regex", True):
        raise ValueError("it splits text in another way")
    if splitter["add_prefix_space"]:
        raise ValueError("it puts a space before the text")
    vocab, previous = content["model"]["vocab"], -1
    for merge in content["model"]["merges"]:
        token_id = vocab["".join(merge.split(" ") if isinstance(merge, str) else merge)]
        if token_id < previous:
            raise ValueError("its ids are not in the order of its merges")
        previous = token_id


def train(texts: Iterable[str], n_vocab: int) -> Tokenizer:
    """
    A tokenizer whose merges are learned from `texts`; it has `n_vocab` tokens in all, or fewer if there is little to
    learn from. Raises InputError if `n_vocab` is too small for the bytes and special tokens, or too large for uint16.
    """
    from tokenizers import Tokenizer as BPETrainee  # only training needs the library
    from tokenizers import models, pre_tokenizers, trainers

    n_special = len(SPECIAL_TOKENS)
    if not 256 + n_special <= n_vocab <= 2**16:
        raise InputError(f"--tokenizer=train:{n_vocab}: between {256 + n_special} (bytes and tags) and 65536 (uint16)")
    trainee = BPETrainee(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=n_vocab - n_special, initial_alphabet=alphabet, show_progress=False)
    trainee.train_from_iterator(texts, trainer)
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    return Tokenizer({bytes(byte_of[c] for c in token): token_id for token, token_id in trainee.get_vocab().items()})
