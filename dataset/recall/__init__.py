"""Conversations that teach memory, and questions that test it."""
