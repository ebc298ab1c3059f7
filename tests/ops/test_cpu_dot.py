"""The kernels for a CPU beside numpy: tiles of packed weights, the exponential function, and attention."""

import numpy as np
import pytest
import torch
from numba import njit

from inference.quantize import as_numpy, dequantize, quantize_weight
from ops import cpu_block, cpu_dot, simd
from ops.cpu_tile import tile_of_1, tile_of_4, tile_of_8
from ops.simd import LANES

pytestmark = pytest.mark.filterwarnings("ignore::numba.NumbaWarning")


def packed(format, n_out, n_in):
    """(the weight as its bits say it, values, scales, bias), of random numbers of which some rows are far larger."""
    rng = torch.Generator().manual_seed(n_out + n_in)
    weight = torch.randn(n_out, n_in, generator=rng) * torch.logspace(-3, 2, n_out)[:, None]
    values, scales = quantize_weight(weight, format)
    kept = dequantize(values, scales) * (scales[:, None] if scales.dim() == 1 else 1)
    bias = torch.randn(n_out, generator=rng)
    return kept.double().numpy(), as_numpy(values), as_numpy(scales[:, None] if scales.dim() == 1 else scales), bias


@pytest.mark.parametrize("format", ["int8", "int4", "bfloat16"])
@pytest.mark.parametrize(("n_out", "n_in"), [(32, 32), (96, 160), (64, 1600)])
def test_products_are_those_of_the_unpacked_weight(format, n_out, n_in):
    """From one row to twenty, for sums that outgrow an int32, with outliers in the inputs."""
    weight, values, scales, bias = packed(format, n_out, n_in)
    for rows in (1, 2, 3, 4, 5, 8, 9, 12, 13, 20):
        x = torch.randn(rows, n_in, generator=torch.Generator().manual_seed(rows))
        x[:, ::17] *= 30
        wanted = x.double().numpy() @ weight.T + bias.double().numpy()
        y = np.zeros((rows, n_out), np.float32)
        inputs = np.zeros((rows, n_in), np.float32 if format == "bfloat16" else np.int16)
        cpu_dot.linear(x.numpy(), inputs, np.zeros(rows, np.float32), values, scales, bias.numpy(), y)
        # a row's inputs are rounded to 1/65,000 of its largest, and their errors add up as random ones do
        size = np.abs(x.double().numpy()).max(1)[:, None] * np.sqrt((weight**2).sum(1))[None]
        assert (np.abs(y - wanted) <= 4e-5 * size + 1e-5).all()


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_tiles_of_all_sizes_make_the_same_numbers(format):
    """One row, four and eight, to the bit, whichever the processor's registers hold; rows that are not there stay."""
    _, values, scales, bias = packed(format, 64, 1088)
    x = np.random.default_rng(0).integers(-32767, 32768, (11, 1088)).astype(np.int16)
    x_scales, bias = np.linspace(0.1, 2, 11).astype(np.float32), bias.numpy()

    @njit
    def by(tile, x, x_scales, values, scales, bias, y):
        for n in range(0, 64, 32):
            for m in range(0, x.shape[0], tile):
                if tile == 8:
                    tile_of_8(x, x_scales, values, scales, bias, n, m, y)
                elif tile == 4:
                    tile_of_4(x, x_scales, values, scales, bias, n, m, y)
                else:
                    tile_of_1(x, x_scales, values, scales, bias, n, m, y)

    made = []
    for tile in (1, 4, 8):
        y = np.full((12, 64), 7, np.float32)
        by(tile, x, x_scales, values, scales, bias, y[:11])
        assert (y[11] == 7).all()
        made.append(y)
    assert np.array_equal(made[0], made[1]) and np.array_equal(made[0], made[2])


def test_exp():
    """To a relative 4e-7; 0 where it would be too small for a float32; nan stays nan."""

    @njit
    def exponentials(x, y):
        for i in range(0, len(x), LANES):
            simd.store(y, i, simd.exp(simd.load(x, i)))

    x = np.concatenate([np.linspace(-86.9, 88, 2**15 - 16), [np.nan, -np.inf, -1e30, -88, np.inf, 1e30], np.zeros(10)])
    x, y = x.astype(np.float32), np.zeros(2**15, np.float32)
    exponentials(x, y)
    n = 2**15 - 16
    wanted = np.exp(x[:n].astype(np.float64))
    assert np.abs(y[:n] / wanted - 1).max() < 4e-7
    assert (
        np.isnan(y[n]) and (y[n + 1 : n + 4] == 0).all() and (y[n + 4 : n + 6] > 1e38).all() and (y[n + 6 :] == 1).all()
    )


@pytest.mark.parametrize("size", [16, 32, 48, 64])
@pytest.mark.parametrize("n", [4, 5, 17, 18, 31, 100])
def test_attention(size, n):
    """Four neighbours in a sequence, together where a head is wide enough and one by one, beside numpy."""
    rng, n_head = np.random.default_rng(n), 2
    qkv = rng.standard_normal((4, 3 * n_head * size)).astype(np.float32) * 3
    keys, values = (rng.standard_normal(n_head * 128 * size).astype(np.float32) for _ in range(2))
    together, alone = np.zeros((2, 4, n_head * size), np.float32)

    @njit
    def attend(qkv, n, size, keys, values, together, alone):
        for h in range(2):
            for r in range(4):
                cpu_block.attend(qkv, r, h, size, n - 3 + r, h * 128 * size, keys, values, alone)
            if size >= 2 * LANES:
                cpu_block.attend_four(qkv, 0, h, size, n, h * 128 * size, keys, values, together)

    attend(qkv, n, size, keys, values, together, alone)
    for h in range(n_head):
        k, v = (array.reshape(n_head, 128, size)[h].astype(np.float64) for array in (keys, values))
        for r in range(4):
            seen = n - 3 + r
            scores = k[:seen] @ qkv[r, h * size : (h + 1) * size] / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            wanted = weights @ v[:seen] / weights.sum()
            for found in (alone, together) if size >= 2 * LANES else (alone,):
                np.testing.assert_allclose(found[r, h * size : (h + 1) * size], wanted, atol=2e-5, rtol=2e-5)
