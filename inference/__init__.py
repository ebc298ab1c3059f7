"""Ids to ids, many at once, and ids to text."""
