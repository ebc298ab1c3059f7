"""The five tokens that are not text, spelled here and nowhere else; only chat_format.py places them among ids."""

ENDOFTEXT = "<|endoftext|>"  # opens a conversation, as GPT-2 opens a document
ROLE_TAGS = {"system": "[System]:", "user": "[Human]:", "assistant": "[Bot]:"}  # role of a message -> the turn's tag
END_OF_TURN = "<|endofturn|>"  # closes a turn; people see a newline
