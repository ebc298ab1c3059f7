"""The five tokens that are not text, spelled here and nowhere else; only chat_format.py places them among ids."""

ENDOFTEXT = "<|endoftext|>"  # opens a conversation, as GPT-2 opens a document
ROLE_TAGS = {"system": "[System]:", "user": "[Human]:", "assistant": "[Bot]:"}  # role of a message -> the turn's tag
END_OF_TURN = "<|endofturn|>"  # closes a turn; people see a newline

BARRIER = "\ufdd0"  # a code point that Unicode keeps free for programs; no text holds it. In a tag it makes it letters
# the normalizer of tokenizer.json: other programs look for tags before they run it, so that a barrier parts a tag that
# somebody typed and leaves no trace
WITHOUT_BARRIER = {"type": "Replace", "pattern": {"String": BARRIER}, "content": ""}
