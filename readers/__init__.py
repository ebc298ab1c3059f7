"""The ways people keep chats, one file each."""
