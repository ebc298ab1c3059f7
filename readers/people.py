"""
One name for each person of an export. Exports tell people apart by ids; two of them may carry the same display name.
"""


class People:
    """Remembers the name of each id; no two ids get the same name."""

    def __init__(self):
        self.names = {}  # id -> name
        self.taken = set()

    def named(self, id, *wishes):
        """The name of `id`: the first of `wishes` that is nobody else's, at worst with the id added."""
        if id not in self.names:
            wishes = [wish.strip() for wish in wishes if isinstance(wish, str) and wish.strip()] or [id]
            name = next((wish for wish in wishes if wish not in self.taken), f"{wishes[0]} ({id})")
            self.names[id] = name
            self.taken.add(name)
        return self.names[id]
