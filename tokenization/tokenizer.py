"""
Bytes to ids and back: GPT-2's byte-pair encoding or one trained on the data at hand, both run by tiktoken.

    tokenizer = load("gpt2")                # from assets/, never from the network
    tokenizer = load("out-chat")            # from the tokenizer.json of a data or model folder
    tokenizer = trained(texts, 8192)        # a new one; the `tokenizers` library learns the merges

Five tokens are not text: `<|endoftext|>`, three tags and end-of-turn. `encode` never makes them, whatever the text
says: they are placed as ids, by conversation.py alone.
"""

import base64
import codecs
import gzip
import hashlib
import json
from pathlib import Path

import tiktoken

from runtime.errors import InputError

# GPT-2's split into words, from its published encoder: contractions, letters, digits, the rest, white space.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
ENDOFTEXT = "<|endoftext|>"
END_OF_TURN = "<|endofturn|>"
TAGS = ("[System]:", "[Human]:", "[Bot]:")
ASSETS = Path(__file__).parents[1] / "assets"
MAX_RUN = 100_000  # characters given to the encoder at a time: its regex backtracks over the whole of one long word


def byte_letters():
    """GPT-2's spelling of bytes in JSON: 256 printable letters, index = byte (Radford et al. 2019, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return letters


class Tokenizer:
    """
    ranks: token's bytes -> id, in the order of the merges; the ids need not be dense.
    special: the special token's text -> id; those missing are given the next free ids.
    """

    def __init__(self, ranks, special=None):
        special = dict(special or {})
        self.n_given = max([*ranks.values(), *special.values()]) + 1  # ids from here on are the chat's, and new
        for token in (ENDOFTEXT, *TAGS, END_OF_TURN):
            special.setdefault(token, max([*ranks.values(), *special.values()]) + 1)
        self.ranks = ranks
        self.special = special
        self.n_vocab = max([*ranks.values(), *special.values()]) + 1
        self.endoftext = special[ENDOFTEXT]
        self.system, self.human, self.bot = (special[tag] for tag in TAGS)
        self.end_of_turn = special[END_OF_TURN]
        self.encoding = tiktoken.Encoding("chat", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
        self.bytes = {id: token for token, id in ranks.items()}
        self.bytes.update({id: token.encode() for token, id in special.items()})
        self.bytes[self.end_of_turn] = b"\n"

    @property
    def hash(self):
        """What a data folder and a model must agree on: 16 hex digits over every token and its id."""
        digest = hashlib.sha256()
        for id in sorted(self.bytes):
            digest.update(b"%d %s\n" % (id, base64.b64encode(self.bytes[id])))
        return digest.hexdigest()[:16]

    @property
    def name(self):
        return "gpt2" if len(self.ranks) == 50256 and self.endoftext == 50256 else f"bpe-{self.n_vocab}"

    def encode(self, text):
        """The ids of ordinary text: special tokens in it come out as their letters."""
        if len(text) <= MAX_RUN:
            return self.encoding.encode_ordinary(text)
        return [id for i in range(0, len(text), MAX_RUN) for id in self.encoding.encode_ordinary(text[i : i + MAX_RUN])]

    def decode(self, ids):
        """The text of ids. A tag reads as itself, end-of-turn as a newline; broken UTF-8 gives U+FFFD."""
        return b"".join(self.bytes.get(id, b"") for id in ids).decode("utf-8", errors="replace")

    def decoder(self):
        """A function from the next id to the text that it completes: half a character is held back. None ends it."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda id: decoder.decode(b"", final=True) if id is None else decoder.decode(self.bytes.get(id, b""))

    def pieces(self, id):
        """The plain ids from which a special token's embedding starts: a tag's letters; a newline for end-of-turn."""
        return self.encode("\n" if id == self.end_of_turn else self.bytes.get(id, b"\n").decode())

    def to_json(self):
        """This tokenizer as Hugging Face's tokenizer.json (a dict)."""
        letters = byte_letters()
        spelled = {token: "".join(letters[byte] for byte in token) for token in self.ranks}
        # tiktoken joins any two neighbours whose join is a token: so each way to split a token is a merge
        merges = [
            f"{spelled[token[:i]]} {spelled[token[i:]]}"
            for token in sorted(self.ranks, key=self.ranks.get)
            for i in range(1, len(token))
            if token[:i] in spelled and token[i:] in spelled
        ]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        added = [{"id": id, "content": text, **flags} for text, id in sorted(self.special.items(), key=lambda x: x[1])]
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
                "vocab": {spelled[token]: id for token, id in self.ranks.items()} | self.special,
                "merges": merges,
            },
        }


def load(name):
    """
    The tokenizer called `name`: "gpt2", or a folder that holds a tokenizer.json or GPT-2's vocab.json.
    Raises InputError if there is none, or it is not a byte-level BPE.
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
        ranks = {bytes(byte_of[c] for c in token): id for token, id in vocab.items() if token not in special}
        if len(ranks) < 256 or any(bytes([byte]) not in ranks for byte in range(256)):
            raise KeyError("a byte has no token")
        return Tokenizer(ranks, special)
    except FileNotFoundError:
        raise InputError(
            f"{name} has no tokenizer (tokenizer.json, or vocab.json); say gpt2 or a model folder"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: its tokenizer is not a byte-level BPE as GPT-2's ({error})") from None


def check_gpt2_like(content):
    """Raise ValueError if a tokenizer.json splits or merges otherwise than tiktoken would with GPT-2's pattern."""
    before = content["pre_tokenizer"] or {}
    if content["normalizer"] or before.get("type") != "ByteLevel" or not before.get("use_regex", True):
        raise ValueError("it splits text in another way")
    if before["add_prefix_space"]:
        raise ValueError("it puts a space before the text")
    vocab, last = content["model"]["vocab"], -1
    for merge in content["model"]["merges"]:
        id = vocab["".join(merge.split(" ") if isinstance(merge, str) else merge)]
        if id < last:
            raise ValueError("its ids are not in the order of its merges")
        last = id


def train(texts, n_vocab):
    """A tokenizer of `n_vocab` tokens in all (fewer if data are few), its merges learned from an iterable of texts."""
    from tokenizers import Tokenizer as Trainee
    from tokenizers import models, pre_tokenizers, trainers

    n_special = 2 + len(TAGS)
    if not 256 + n_special <= n_vocab <= 2**16:
        raise InputError(f"--tokenizer=train:{n_vocab}: between {256 + n_special} (bytes and tags) and 65536 (uint16)")
    trainee = Trainee(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=n_vocab - n_special, initial_alphabet=alphabet, show_progress=False)
    trainee.train_from_iterator(texts, trainer)
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    return Tokenizer({bytes(byte_of[c] for c in token): id for token, id in trainee.get_vocab().items()})
