"""
Rows of a data set on the Hugging Face hub, through `datasets`.
"""

import logging

from configurator import InputError


def splits(name, where_else, config=None):
    """
    The splits of the hub's set `name`, or of its part `config`, each an iterable of rows. Raises InputError that says
    what else would do.
    """
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what came of them is said below
    try:
        return list(datasets.load_dataset(name, *([config] if config else [])).values())
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{name}: cannot be loaded from the hub ({reason}); {where_else}") from None
