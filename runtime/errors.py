"""What a user can cause and mend."""


class InputError(ValueError):
    """Something a user can cause and mend. The message is one line: what, where, what would be right."""
