"""
ParlAI's lines, as ConvAI2 publishes PersonaChat:

    1 your persona: i have two dogs.
    2 partner's persona: i volunteer in a homeless shelter.
    3 hi ! how are you ?<TAB>great . relaxing with my two dogs .<TAB><TAB>candidate|candidate

A number that does not grow begins a new dialogue. Of a talk line, the first text is the partner's, the second is yours.
"""

from configurator import InputError

SILENCE = "__SILENCE__"  # ParlAI's word for the turn of a partner who lets you begin
YOURS, PARTNERS = "your persona:", "partner's persona:"


def recognises(first_line):
    number, _, rest = first_line.partition(" ")
    return number.isdecimal() and ("\t" in rest or rest.startswith((YOURS, PARTNERS)))


def dialogues(lines, where):
    """
    Yield (persona, partner's persona, said): two lists of sentences, and the utterances in turn, the partner's first;
    SILENCE stands where somebody said nothing. Raises InputError with the line's number.
    """
    personas, said, last = ([], []), [], 0
    for at, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        number, _, rest = line.partition(" ")
        if not (number.isdecimal() and len(number) < 10):
            raise InputError(f"{where}:{at}: a line begins with its number in the dialogue, not {number[:20]!r}")
        if int(number) <= last and (said or any(personas)):
            yield *personas, said
            personas, said = ([], []), []
        last = int(number)
        if rest.startswith(YOURS):
            personas[0].append(rest[len(YOURS) :].strip())
        elif rest.startswith(PARTNERS):
            personas[1].append(rest[len(PARTNERS) :].strip())
        else:
            fields = rest.split("\t")
            if len(fields) < 2 or not fields[1].strip():
                raise InputError(f"{where}:{at}: a tab and a reply are missing (the file may be cut off)")
            said += [fields[0].strip() or SILENCE, fields[1].strip()]
    if said or any(personas):
        yield *personas, said
