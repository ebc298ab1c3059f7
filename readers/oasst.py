"""
OpenAssistant's trees of messages, where a message may have several replies: every way from the root to a last answer is
a conversation. Flat rows {"message_id", "parent_id", "text", "role", "lang"} (the hub; all are held, since a reply may
stand anywhere), or trees as JSON lines, {"prompt": {..., "replies": [...]}} or the root alone.
"""

from readers import rows
from readers.conversations import talk_record

ROLES = {"prompter": "user", "assistant": "assistant"}
LANGUAGE = "en"  # GPT-2 reads English
WANTED = '{"message_id", "parent_id", "text", "role", "lang"} or {"prompt": {"text", "role", "replies"}}'


def trees(pairs, skipped):
    """(place, root message) of tree rows, and of flat rows when all are read."""
    nodes = {}
    for place, row in pairs:
        root = row.get("prompt") if isinstance(row, dict) and isinstance(row.get("prompt"), dict) else row
        try:
            if isinstance(root.get("replies"), list):
                yield place, root
            else:
                nodes[root["message_id"]] = (place, {**root, "replies": []})
        except rows.MISFIT:
            skipped.broken(place, f"wanted {WANTED}")
    roots = []
    for place, node in nodes.values():
        parent = node.get("parent_id")
        if parent is None:
            roots.append((place, node))
        elif isinstance(parent, str) and parent in nodes:
            nodes[parent][1]["replies"].append(node)
        else:
            skipped.note("reply to a message that is not there", place)
    yield from roots


def of_row(root, place, skipped):
    branches = [(root, [])]
    while branches:
        node, said = branches.pop()
        reason = left_out(node)
        if reason:
            skipped.note(f"{reason}, with what was replied to it", place)
            continue
        said = [*said, (ROLES[node["role"]], node["text"])]
        replies = node.get("replies") or []
        branches += [(reply, said) for reply in reversed(replies)]
        answers = [answer for reply in replies if not left_out(reply) for answer in reply.get("replies") or []]
        if said[-1][0] == "assistant" and all(map(left_out, answers)):  # nobody goes on from here, or is answered
            yield from talk_record(said, place, skipped)
        if said[-1][0] == "user" and all(map(left_out, replies)):
            skipped.note("question that nobody answered", place)


def left_out(node):
    """Why a message is not used, or None."""
    if node.get("deleted"):
        return "deleted message"
    return None if node.get("lang", LANGUAGE) == LANGUAGE else "message not in English"
