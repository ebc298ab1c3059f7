"""The pictures of a report card."""

import math

COLOURS = ("#1f6fb4", "#d9822b", "#6b6b6b")  # the model, the baseline, people


def plot_report(path, content, baseline=None):
    """One page: recall against distance, overlap against turn, lengths; the baseline laid over."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(8.3, 10.5), dpi=110, layout="constrained")
    recall, overlap, lengths = page.subplots(3, 1)
    reports = [(content, COLOURS[0])] + ([(baseline, COLOURS[1])] if baseline else [])
    page.suptitle(" and ".join(each["model"]["name"] for each, _ in reports), fontsize=14, fontweight="bold")

    recall.set(title="Does it remember? Questions about what it was told", ylabel="right answers, %", ylim=(-3, 103))
    names = [str(x) for x in content["curves"].get("recall", {}).get("x", [])]
    recall.set_xticks(range(len(names)), names)
    recall.set_xlabel("human turns since it was told; beyond: no more within the context")
    for each, colour in reports:
        curve = each["curves"].get("recall", {"x": [], "y": [], "low": [], "high": []})
        columns = (curve[name] for name in ("x", "y", "low", "high"))
        points = [(names.index(str(x)), *ys) for x, *ys in zip(*columns, strict=True) if ys[0] is not None]
        draw_series(recall, points, colour, each["model"]["name"])

    overlap.set(title="Does it repeat itself? Self-chats of 20 turns", ylabel="3-grams it has said before, %")
    overlap.set_xlabel("turn of the bot")
    for each, colour in reports:
        curve = each["curves"].get("overlap", {"x": [], "y": [], "low": [], "high": []})
        points = [p for p in zip(*(curve[name] for name in ("x", "y", "low", "high")), strict=True) if p[1] is not None]
        draw_series(overlap, points, colour, each["model"]["name"])
    people = content["curves"].get("overlap", {}).get("human", {"x": [], "y": []})
    points = [(x, y) for x, y in zip(people["x"], people["y"], strict=True) if y is not None]
    if points:
        overlap.plot(*zip(*points, strict=True), color=COLOURS[2], linestyle="--", label="people, in the same data")
    overlap.set_ylim(bottom=0)
    overlap.xaxis.get_major_locator().set_params(integer=True)

    lengths.set(
        title="Are its replies as long as people's?",
        xlabel="words and marks in a reply; the last bar: as many or more",
        ylabel="share of replies, %",
    )
    series = [
        (each["curves"].get("lengths", {}).get("bot", []), colour, each["model"]["name"]) for each, colour in reports
    ]
    series.append((content["curves"].get("lengths", {}).get("human", []), COLOURS[2], "people, to the same messages"))
    # one person's essay would squeeze all else into a bar: the last one holds whatever is longer
    every = sorted(value for values, _, _ in series for value in values)
    longest = every[int(0.98 * (len(every) - 1))] if every else 0
    edges = [i * max(1, math.ceil((longest + 1) / 30)) for i in range(32)]
    series = [([min(value, edges[-2]) for value in values], colour, name) for values, colour, name in series]
    for values, colour, name in series:
        if values:
            style = {"histtype": "step", "linewidth": 2, "linestyle": "--" if colour == COLOURS[2] else "-"}
            shares = [100 / len(values)] * len(values)
            lengths.hist(values, edges, weights=shares, color=colour, label=name, **style)
    for axes in (recall, overlap, lengths):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=COLOURS[2])
    page.savefig(path, format="png", metadata={"Software": None})


def draw_series(axes, points, colour, name):
    """A line with its interval: points are (x, y, low, high)."""
    if points:
        x, y, low, high = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker="o", label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
