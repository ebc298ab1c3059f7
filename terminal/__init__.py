"""A chat in the terminal: the conversation, its commands, what is shown, and saved chats."""
