"""Chats to token files to packed batches."""
