"""
Bytes to ids and back: GPT-2's byte-pair encoding or one trained on the data at hand, both run by tiktoken.

    tokenizer = load("gpt2")                # from assets/, never from the network
    tokenizer = load("out-chat")            # that of a data or model folder, or of a model of the hub
    tokenizer = train(texts, n_vocab=8192)  # a new one; the `tokenizers` library learns the merges

The five special tokens (special_tokens.py) are not text. `encode` never returns them, whatever the text says: they are
placed as ids, and only by chat_format.py.
"""

import base64
import codecs
import gzip
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tiktoken

from runtime import hub
from runtime.errors import InputError
from runtime.json_file import read_json, read_json_if_there
from tokenization import characters
from tokenization.added_tokens import AddedToken, Splitter, read_added_tokens
from tokenization.foreign_tokenizer import check_gpt2_like, check_ids, check_merge_order, has_tokenizer
from tokenization.special_tokens import END_OF_TURN, ENDOFTEXT, ROLE_TAGS, WITHOUT_BARRIER

# GPT-2's regular expression for words, from its published encoder: contractions, letters, digits, the rest, white space
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
SPECIAL_TOKENS = (ENDOFTEXT, *ROLE_TAGS.values(), END_OF_TURN)
ASSETS = Path(__file__).parents[1] / "assets"
MIN_BYTES = 16  # single bytes that a vocabulary must have: with fewer it is none for text
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

    ranks: a token's bytes -> its id, in the order of the merges; the ids need not be dense. A byte that has no token
    is left out of what is encoded.
    special: an added token's text -> its id. Those of SPECIAL_TOKENS that are missing get the next free ids.
    added: what is known of those that other programs added; the rest are special. Those that are not are words: text
    that spells one is encoded as it.
    """

    def __init__(
        self,
        ranks: dict[bytes, int],
        special: Mapping[str, int] | None = None,
        added: Mapping[str, AddedToken] | None = None,
    ) -> None:
        self.added = dict(added or {})
        special = {**(special or {}), **{text: token.id for text, token in self.added.items()}}
        self.n_base_vocab = max([*ranks.values(), *special.values()]) + 1  # ids from here on are added for the chat
        for token in SPECIAL_TOKENS:
            special.setdefault(token, max([*ranks.values(), *special.values()]) + 1)
        self.ranks = ranks
        self.special = special
        self.added = {text: self.added.get(text, AddedToken(token_id)) for text, token_id in special.items()}
        self.n_vocab = max([*ranks.values(), *special.values()]) + 1
        self.endoftext = special[ENDOFTEXT]
        self.system, self.human, self.bot = (special[tag] for tag in ROLE_TAGS.values())
        self.end_of_turn = special[END_OF_TURN]
        alphabet = (bytes([byte]) for byte in range(256))
        # tiktoken needs a token for each byte; these are dropped again
        self.dropped = {byte: self.n_vocab + i for i, byte in enumerate(byte for byte in alphabet if byte not in ranks)}
        self.encoding = tiktoken.Encoding(
            "chat", pat_str=PATTERN, mergeable_ranks=ranks | self.dropped, special_tokens=special
        )
        words = {text: token for text, token in self.added.items() if not token.special}
        self.words = Splitter(words) if words else None
        self.all_added = Splitter(self.added)
        spellings = sorted((text for text in special if self.added[text].special), key=len, reverse=True)
        self.special_pattern = re.compile(f"({'|'.join(map(re.escape, spellings))})")
        self.bytes = {token_id: token for token, token_id in ranks.items()}
        self.bytes.update({token_id: token.encode() for token, token_id in special.items()})
        self.bytes[self.end_of_turn] = b"\n"
        foreign = (token for text, token in self.added.items() if text not in SPECIAL_TOKENS)
        self.hidden = {token.id for token in foreign if token.special}  # ids that a stream of text does not show

    @property
    def hash(self) -> str:
        """16 hex digits over all tokens and their ids. A data folder and a model must have the same."""
        digest = hashlib.sha256()
        for token_id in sorted(self.bytes):
            digest.update(b"%d %s\n" % (token_id, base64.b64encode(self.bytes[token_id])))
        return digest.hexdigest()[:16]

    @property
    def name(self) -> str:
        """gpt2, gpt2+2 where a folder adds two tokens to it, or bpe-8192 for another of 8,192 tokens."""
        if len(self.ranks) != 50256 or self.endoftext != 50256:
            return f"bpe-{self.n_vocab}"
        n_more = len(self.special) - len(SPECIAL_TOKENS)
        return f"gpt2+{n_more}" if n_more else "gpt2"

    @property
    def untrained(self) -> tuple[int, ...]:
        """The ids that a model with this tokenizer never saw: those added for the chat, and those of no token."""
        holes = (token_id for token_id in range(self.n_base_vocab) if token_id not in self.bytes)
        return (*holes, *range(self.n_base_vocab, self.n_vocab))

    def id_of(self, text: str) -> int | None:
        """The id of the token that is spelled so; None if there is none."""
        return self.special.get(text, self.ranks.get(text.encode("utf-8", errors="replace")))

    def encode(self, text: str) -> list[int]:
        """The ids of ordinary text; the spelling of a special token in it is encoded as letters."""
        return self.encode_pieces(self.words.split(text)) if self.words else self.encode_letters(text)

    def encode_rendered(self, text: str, barrier: str) -> list[int]:
        """
        The ids of what a chat template made: a special token's spelling is that token, unless `barrier`, which is no
        part of the text, stands in it.
        """
        pieces = self.all_added.split(text)
        return self.encode_pieces([each.replace(barrier, "") if isinstance(each, str) else each for each in pieces])

    def encode_pieces(self, pieces: Iterable[str | int]) -> list[int]:
        """The ids of pieces of text, and the ids between them."""
        parts = ([piece] if isinstance(piece, int) else self.encode_letters(piece) for piece in pieces)
        return [token_id for part in parts for token_id in part]

    def encode_letters(self, text: str) -> list[int]:
        """The ids of text in which no added token is looked for."""
        if len(text) <= MAX_RUN:
            ids = self.encoding.encode_ordinary(text)
        else:
            runs = (text[i : i + MAX_RUN] for i in range(0, len(text), MAX_RUN))
            ids = [token_id for run in runs for token_id in self.encoding.encode_ordinary(run)]
        return [token_id for token_id in ids if token_id < self.n_vocab] if self.dropped else ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. A tag reads as it is spelled, end-of-turn as a newline; broken UTF-8 gives U+FFFD."""
        return b"".join(self.bytes.get(token_id, b"") for token_id in ids).decode("utf-8", errors="replace")

    def decoder(self) -> Callable[[int | None], str]:
        """
        A function that decodes a stream: given the next id it returns the text that is now complete, and holds back
        half a character. None ends the stream and returns what was held back (U+FFFD). Special tokens of other programs
        are not shown.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

        def decode_next(token_id: int | None) -> str:
            if token_id is None:
                return decoder.decode(b"", final=True)
            return "" if token_id in self.hidden else decoder.decode(self.bytes.get(token_id, b""))

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
        added = [
            # special tokens are looked for before the normalizer runs, else it would join what the barrier parts
            {"content": text, **token._asdict(), "normalized": token.normalized and not token.special}
            for text, token in sorted(self.added.items(), key=lambda item: item[1].id)
        ]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": WITHOUT_BARRIER,
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
    The tokenizer called `name`: "gpt2", or that of a folder or of a model of the hub: a tokenizer.json, GPT-2's
    vocab.json, or nanoGPT's meta.pkl. Raises InputError if there is none, or if it is not a byte-level BPE that works
    as GPT-2's does.
    """
    if str(name) == "gpt2":
        lines = gzip.decompress((ASSETS / "gpt2.tiktoken.gz").read_bytes()).splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
        return Tokenizer(ranks, {ENDOFTEXT: len(ranks)})
    folder = hub.local_folder(name)
    if not has_tokenizer(folder):
        raise InputError(f"{name} has no tokenizer (tokenizer.json, or vocab.json); say gpt2 or a model folder")
    try:
        if (folder / "tokenizer.json").exists():
            content = read_json(folder / "tokenizer.json")
            check_gpt2_like(content)
            vocab, added = content["model"]["vocab"], content["added_tokens"]
        elif (folder / "vocab.json").exists():
            vocab, added = read_json(folder / "vocab.json"), []
            if (folder / "merges.txt").exists():
                lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
                check_merge_order(vocab, [line for line in lines if line and not line.startswith("#version")])
        else:
            return load_characters(folder / "meta.pkl")
        if read_json_if_there(folder / "tokenizer_config.json").get("add_prefix_space"):
            raise ValueError("it puts a space before the text")
        added = read_added_tokens(folder, vocab, added)
        byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        ranks = {bytes(byte_of[c] for c in token): i for token, i in vocab.items() if token not in added}
        if sum(len(token) == 1 for token in ranks) < MIN_BYTES:
            raise KeyError("a byte has no token")
        check_ids([*ranks.values(), *(token.id for token in added.values())])
        return Tokenizer(ranks, added=added)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: its tokenizer is not a byte-level BPE as GPT-2's ({error})") from None


def load_characters(path: Path) -> Tokenizer:
    """The tokenizer of a character model, from nanoGPT's meta.pkl. Raises InputError if that is another thing."""
    ascii_ids, others = characters.read_meta(path)
    return Tokenizer(ascii_ids, added=others)


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
