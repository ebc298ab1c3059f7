"""
One name for each person of an export. Exports tell people apart by ids; two of them may carry the same display name.
"""


class People:
    """Remembers the name of each id; no two ids get the same name."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # id -> name
        self.taken: set[str] = set()

    def named(self, user_id: str, *wishes: object) -> str:
        """The name of `user_id`: the first text of `wishes` that is nobody else's, at worst with the id added."""
        if user_id not in self.names:
            names = [wish.strip() for wish in wishes if isinstance(wish, str) and wish.strip()] or [user_id]
            name = next((name for name in names if name not in self.taken), f"{names[0]} ({user_id})")
            self.names[user_id] = name
            self.taken.add(name)
        return self.names[user_id]
