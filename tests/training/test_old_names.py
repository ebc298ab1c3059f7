"""Who comes from nanoGPT or another trainer is told what a setting is called here, of a file all at once."""

import dataclasses
import re
import typing

import pytest

import configurator
from chat import ChatConfig
from inference.settings import EngineConfig
from runtime.errors import InputError
from sample import SampleConfig
from train import TrainConfig
from training.old_names import OLD_NAMES

FIELDS = {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("old, new", OLD_NAMES.items(), ids=str)
def test_a_new_name_is_a_setting(old, new):
    """No old name is a setting; what it is called here is one, and so is each name in a sentence."""
    assert old not in FIELDS
    if new.isidentifier():
        assert new in FIELDS
    for name in re.findall(r"[a-z]+_[a-z_]+|\b[a-z]+(?==)", new.replace("prepare.py --tokenizer=", "")):
        assert name in FIELDS, name
    with pytest.raises(InputError, match=f"^--{old}=1: {old} is .*"):
        configurator.load(TrainConfig, [f"--{old}=1"])


def test_the_settings_that_generate_have_theirs():
    """Each old name of chat.py and sample.py is a setting of at least one of them today."""
    fields = {field.name for config in (ChatConfig, SampleConfig) for field in dataclasses.fields(config)}
    for old, new in EngineConfig.old_names.items():
        assert old not in fields
        assert new in fields or new.startswith("is ")
    with pytest.raises(InputError, match="^--max_length=3: max_length is called max_new_tokens here$"):
        configurator.load(ChatConfig, ["--max_length=3"])


def test_a_file_of_nanogpts_is_answered_whole(tmp_path):
    """
    Every old name of a file is in one line, with its place, whatever its value, and so is an import; a name that is
    only misspelt comes first.
    """
    path = tmp_path / "train_shakespeare.py"
    path.write_text(
        "import time\nout_dir = 'out'\nalways_save_checkpoint = False\nwandb_run_name = 'x-' + str(time.time())\n"
        "dataset = 'shakespeare'\nlearning_rate = 1e-3\nmax_iters = 5000\nlr_decay_iters = max_iters\nbeta2 = 0.99\n"
    )
    with pytest.raises(InputError) as error:
        configurator.load(TrainConfig, [str(path)])
    said = str(error.value)
    assert said.startswith(f"{path}: line 1: nothing is imported") and "\n" not in said
    assert [int(line) for line in re.findall(r"line (\d+): ", said)] == [1, 3, 4, 5, 8]
    assert "line 3: always_save_checkpoint is not needed" in said
    assert "data_dir=data/NAME" in said and "lr_decay_iters is max_iters here" in said
    assert typing.get_type_hints(TrainConfig).keys() == FIELDS  # the table is no setting
