"""Text to ids and back: the tokenizer, the chat format, chat templates, and what fits in a context."""
