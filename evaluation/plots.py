"""The page of plots of a report card."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.rows import Report
from runtime import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, BASELINE, PEOPLE = figure.BLUE, figure.ORANGE, figure.DARK_GREY
LENGTH_BARS = 31  # of the histogram of lengths
Series = list[tuple[dict[str, Any], str, str]]  # (a report's curves, their colour, the model's name)


def plot_report(path: str | Path, content: Report, baseline: Report | None = None) -> None:
    """
    Write a PNG page of three plots: recall against distance, overlap against turn, and the lengths of replies; the
    baseline is laid over. Curves that were not measured are left out.
    """
    page = figure.new_figure(width=8.3, height=10.5, dpi=110)  # a printed page
    recall, overlap, lengths = page.subplots(3, 1)
    series: Series = [(content["curves"], OURS, content["model"]["name"])]
    if baseline:
        series.append((baseline["curves"], BASELINE, baseline["model"]["name"]))
    names = figure.as_letters(" and ".join(name for _, _, name in series)).replace("$", r"\$")
    page.suptitle(names, fontsize=14, fontweight="bold")
    plot_recall(recall, series)
    plot_overlap(overlap, series)
    plot_lengths(lengths, series)
    for axes in (recall, overlap, lengths):
        figure.style_axes(axes, grid="y")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=figure.DARK_GREY)
    figure.save(page, path)


def plot_recall(axes: "Axes", series: Series) -> None:
    """Right answers against the number of turns since the fact was told."""
    axes.set(title="Does it remember? Questions about what it was told", ylabel="right answers, %", ylim=(-3, 103))
    axes.set_xlabel("human turns since it was told; beyond: no more within the context")
    distances = [str(x) for x in series[0][0].get("recall", {}).get("x", [])]
    axes.set_xticks(range(len(distances)), distances)
    for curves, colour, name in series:
        measured = [point for point in curve_points(curves.get("recall")) if str(point[0]) in distances]
        points = [(distances.index(str(x)), y, low, high) for x, y, low, high in measured]
        plot_with_interval(axes, points, colour, name)


def plot_overlap(axes: "Axes", series: Series) -> None:
    """What the bot says again in a self-chat against the number of its turn, people's own beside it."""
    from matplotlib.ticker import MaxNLocator  # as heavy as figure.new_figure's import

    axes.set(title="Does it repeat itself? Self-chats of 20 turns", ylabel="3-grams it has said before, %")
    axes.set_xlabel("turn of the bot")
    for curves, colour, name in series:
        plot_with_interval(axes, curve_points(curves.get("overlap")), colour, name)
    people = series[0][0].get("overlap", {}).get("human", {"x": [], "y": []})
    points = [(x, y) for x, y in zip(people["x"], people["y"], strict=True) if y is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=PEOPLE, linestyle="--", label="people, in the same data")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def plot_lengths(axes: "Axes", series: Series) -> None:
    """A histogram of the lengths of replies, people's own beside it."""
    axes.set(
        title="Are its replies as long as people's?",
        xlabel="words and marks in a reply; the last bar: as many or more",
        ylabel="share of replies, %",
    )
    lengths = [(curves.get("lengths", {}).get("bot", []), colour, name, "-") for curves, colour, name in series]
    people = series[0][0].get("lengths", {}).get("human", [])
    lengths.append((people, PEOPLE, "people, to the same messages", "--"))
    # one person's essay would squeeze all else into a bar: the last one holds whatever is longer
    ordered = sorted(value for values, *_ in lengths for value in values)
    longest = ordered[int(0.98 * (len(ordered) - 1))] if ordered else 0
    edges = [i * max(1, math.ceil((longest + 1) / (LENGTH_BARS - 1))) for i in range(LENGTH_BARS + 1)]
    for values, colour, name, linestyle in lengths:
        if values:
            clipped, shares = [min(value, edges[-2]) for value in values], [100 / len(values)] * len(values)
            style: dict[str, Any] = {"histtype": "step", "linewidth": 2, "linestyle": linestyle}
            axes.hist(clipped, edges, weights=shares, color=colour, label=name, **style)


def curve_points(curve: dict[str, Any] | None) -> list[tuple[Any, float, float, float]]:
    """The (x, y, low, high) of a curve that were measured; none of a curve that is not there."""
    if curve is None:
        return []
    columns = (curve[name] for name in ("x", "y", "low", "high"))
    return [point for point in zip(*columns, strict=True) if point[1] is not None]


def plot_with_interval(axes: "Axes", points: list[tuple[Any, float, float, float]], colour: str, name: str) -> None:
    """A line through points (x, y, low, high) and a band from low to high."""
    if points:
        x, y, low, high = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker="o", label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
