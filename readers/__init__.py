"""One file for each way people keep chats. A reader yields records; conversation.py checks them."""
