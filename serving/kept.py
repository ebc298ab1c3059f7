"""
The last replies of /v1/responses, for clients that name a reply (item_reference, previous_response_id) where others
send it back, as OpenAI's newer clients do. They are in memory only, and gone when the server ends.
"""

import uuid
from collections import OrderedDict

from serving.errors import APIError
from serving.protocol import Message

MAX_KEPT = 1000  # replies
MAX_CHARACTERS = 2**24  # of all of them, the messages before each included


def new_ids() -> tuple[str, str]:
    """The ids of a response and of its one item, which nobody can guess."""
    key = uuid.uuid4().hex
    return f"resp_{key}", f"msg_{key}"


class KeptReplies:
    """What was said up to each of the last replies; the oldest give way."""

    def __init__(self) -> None:
        self.conversations: OrderedDict[str, list[Message]] = OrderedDict()  # by response id; the reply is the last
        self.n_characters = 0

    def keep(self, response_id: str, conversation: list[Message]) -> None:
        """conversation: the messages before the reply, and the reply."""
        self.conversations[response_id] = conversation
        self.n_characters += total_characters(conversation)
        while len(self.conversations) > MAX_KEPT or self.n_characters > MAX_CHARACTERS:
            _, oldest = self.conversations.popitem(last=False)
            self.n_characters -= total_characters(oldest)

    def reply(self, item_id: str, param: str) -> Message:
        """The reply that is the item. Raises APIError."""
        conversation = self.conversations.get(item_id.replace("msg_", "resp_", 1))
        if conversation is None:
            message = f"the item {item_id[:100]!r} is not kept, or not any more; send the message itself"
            raise APIError(404, message, param, "item_not_found")
        return conversation[-1]

    def conversation(self, response_id: str) -> list[Message]:
        """All that was said up to the reply, and the reply. Raises APIError."""
        if response_id not in self.conversations:
            message = f"the response {response_id[:100]!r} is not kept, or not any more; send the messages themselves"
            raise APIError(400, message, "previous_response_id", "previous_response_not_found")
        return self.conversations[response_id]


def total_characters(messages: list[Message]) -> int:
    return sum(message.n_characters for message in messages)
