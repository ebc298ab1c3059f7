"""Pictures are PNG files of the size that was asked for, the same bytes each time, drawn without a screen."""

import struct

from runtime import figure


def drawn(path):
    picture = figure.new_figure(width=2.0, height=1.5, dpi=100)
    axes = picture.subplots()
    axes.plot([1, 2], [3, 4], color=figure.BLUE)
    figure.style_axes(axes, grid="y")
    figure.save(picture, path)
    return path.read_bytes()


def test_a_picture_has_its_size_and_is_the_same_each_time(tmp_path):
    data = drawn(tmp_path / "new" / "one.png")
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (200, 150)
    assert data == drawn(tmp_path / "two.png")
