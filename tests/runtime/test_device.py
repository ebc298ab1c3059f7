"""device.py picks what exists, refuses what does not in one line, and a seed makes everything repeat."""

import random

import numpy as np
import pytest
import torch

from runtime import device
from runtime.errors import InputError


def test_auto_takes_what_there_is():
    """auto is the best device of this machine, in a dtype that autocast takes."""
    where = device.choose_device()
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert where.type == best and where.dtype in device.DTYPES
    with where.autocast():
        assert torch.ones(2, 2, device=where.name).matmul(torch.ones(2, 2, device=where.name)).sum() == 8


@pytest.mark.parametrize("dtype", device.DTYPES)
def test_autocast_computes_in_the_dtype_asked_for(dtype):
    """Products are of the dtype, weights stay float32."""
    layer = torch.nn.Linear(4, 4)
    with device.choose_device("cpu", dtype).autocast():
        assert layer(torch.ones(1, 4)).dtype == device.DTYPES[dtype]
    assert layer.weight.dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_a_device_that_is_not_there_is_one_line():
    """cuda without a GPU, or a word that is no device, says what would be right."""
    for wrong, match in (("cuda", "torch sees no cuda"), ("cuda:1", "no cuda device"), ("gpu", "auto, cpu, cuda")):
        with pytest.raises(InputError, match=match):
            device.choose_device(wrong)


def test_a_wrong_dtype_or_number_of_threads_is_one_line():
    """They are named with what is allowed."""
    with pytest.raises(InputError, match="--dtype=half: must be auto, float32"):
        device.choose_device("cpu", "half")
    for threads in (0, -1):
        with pytest.raises(InputError, match="--threads=.* from 1 to 1,024"):
            device.choose_device("cpu", threads=threads)


def test_auto_dtype_on_a_cpu_is_the_one_measured_faster(monkeypatch):
    """bfloat16 is taken only where its product is clearly faster than float32's."""
    for slow, wanted in ((torch.bfloat16, "float32"), (torch.float32, "bfloat16")):
        monkeypatch.setattr(
            device,
            "matmul_seconds",
            lambda dtypes, slow=slow: {dtype: 1.0 if dtype is slow else 0.1 for dtype in dtypes},
        )
        assert device.fastest_dtype("cpu") == wanted


def test_torchruns_rank_is_read(monkeypatch):
    """RANK and WORLD_SIZE name the process; one process joins no group."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    where = device.choose_device("cpu", "float32")
    assert (where.rank, where.world_size) == (0, 1) and not torch.distributed.is_initialized()


def test_a_seed_makes_everything_repeat():
    """Python, numpy and torch give the same numbers after the same seed, whatever its size."""
    for seed in (0, 1337, 2**40):
        drawn = []
        for _ in range(2):
            device.seed_everything(seed)
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
        assert drawn[0] == drawn[1]


def test_one_thread_is_for_a_while():
    """Torch has one thread inside, and as many as before behind it, whatever happened."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), device.one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
