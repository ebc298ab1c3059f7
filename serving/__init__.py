"""OpenAI's protocol, and the queue and thread behind it."""
