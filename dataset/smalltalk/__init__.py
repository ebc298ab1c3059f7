"""Conversations written as scripts, and the many different talks that are drawn from them."""
