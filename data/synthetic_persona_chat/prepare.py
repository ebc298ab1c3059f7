"""
Synthetic-Persona-Chat (Jandaghi et al. 2023): long talk that a model wrote between two of PersonaChat's personas.
About 11,000 dialogues (1,000 of them valid, 0.4M GPT-2 tokens), two views of each. Licence: CC BY 4.0.

    $ python data/synthetic_persona_chat/prepare.py                          # from the hub
    $ python data/synthetic_persona_chat/prepare.py --source=FILE_OR_FOLDER  # its CSV
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import rows, syntheticpersona

HUB_ID = "google/Synthetic-Persona-Chat"
ABOUT = {"name": "Synthetic-Persona-Chat", "licence": "CC BY 4.0", "url": f"https://huggingface.co/datasets/{HUB_ID}"}


def conversations(settings, skipped):
    pairs = rows.local_or_hub_rows(settings, HUB_ID, skipped)
    return rows.records_of_rows(pairs, syntheticpersona.of_row, syntheticpersona.WANTED, skipped)


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
