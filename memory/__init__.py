"""What a chat keeps in view of a model, and what it remembers beyond the context."""
