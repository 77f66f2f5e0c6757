# SPDX-License-Identifier: Apache-2.0
"""Charts, as SVG files that are the same for the same results."""

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402 - the drawing code is chosen before
from matplotlib.ticker import LogLocator, NullLocator  # noqa: E402

from . import figures  # noqa: E402
from .servers import FLOOR, FLOOR_AGAIN  # noqa: E402

OURS, FLOOR_COLOUR, OTHERS = "#d9480f", "#495057", "#a5b4c7"

pyplot.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9,
                        "axes.spines.top": False, "axes.spines.right": False})

ECHOES = (
    ("echo-64x1", "64 B, 1 connection"),
    ("echo-64x64", "64 B, 64 connections"),
    ("echo-64x1000", "64 B, 1,000 connections"),
    ("echo-16384x64", "16 KiB, 64 connections"),
    ("echo-16384x1000", "16 KiB, 1,000 connections"),
    ("echo-64x64of10000", "64 B, 64 active of 10,000"),
)


def draw_all(found, folder):
    """Returns (file name, title) of what was drawn; a chart without figures is not."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, title, draw in (
        ("storm.svg", "Connect, greet, close: the server's CPU time for a connection",
         lambda axes: bars(axes, found, "storm", "server_cpu_ns", unit=1000, label="µs")),
        ("memory.svg", "Memory of the process for an idle connection",
         lambda axes: bars(axes, found, "hold", "bytes", logarithmic=True, label="bytes")),
    ):
        figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
        if draw(axes):
            axes.set_title(title, loc="left")
            save(figure, folder / name)
            drawn.append((name, title))
        pyplot.close(figure)
    return draw_accepting(found, folder) + drawn + draw_echo(found, folder)


def draw_accepting(found, folder):
    """A chart of servers that do not make each connection ready to read when they accept it, and one of those that do:
    the latter have a system call more for each."""
    drawn = []
    for name, title, registers in (
        ("accepting.svg", "Accepting 10,000 waiting connections, against epoll and accept4 alone", False),
        ("accepting-registered.svg",
         "Accepting 10,000 waiting connections and making each ready to read, against epoll and accept4 alone", True),
    ):
        some = {server for server, row in found["servers"].items() if row["registers"] == registers}
        figure, panels = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained", sharex=True)
        any_bars = False
        for axes, (metric, label) in zip(panels, (("wall_ns", "wall time"), ("cpu_ns", "CPU time"))):
            any_bars |= bars(axes, found, "drain-10000", metric, ratios=True, logarithmic=True, only=some)
            axes.set_title(label, loc="left", fontsize=9)
        if any_bars:
            figure.suptitle(title, x=0.01, ha="left")
            save(figure, folder / name)
            drawn.append((name, title))
        pyplot.close(figure)
    return drawn


def draw_echo(found, folder):
    title = "Echo: messages a second against epoll alone"
    figure, panels = pyplot.subplots(2, 3, figsize=(12, 9), layout="constrained", sharex=True)
    any_bars = False
    for axes, (load, label) in zip(panels.flat, ECHOES):
        any_bars |= bars(axes, found, load, "rate", ratios=True, ascending=False)
        axes.set_title(label, loc="left", fontsize=9)
    if any_bars:
        figure.suptitle(title, x=0.01, ha="left")
        save(figure, folder / "echo.svg")
    pyplot.close(figure)
    return [("echo.svg", title)] if any_bars else []


def bars(axes, found, load, metric, ratios=False, ascending=True, logarithmic=False, unit=1, label="x floor",
         only=None):
    """A bar or point a server, or for each of some, the best on top, with the range of its rounds. False without
    figures."""
    rows = []
    for name, server in found["servers"].items():
        function = figures.ratio if ratios else figures.absolute
        spread = function(found["measurements"], load, name, metric)
        if only is not None and name not in only:
            continue
        if spread and name != FLOOR_AGAIN and (spread.middle > 0 or not logarithmic):
            rows.append((spread.middle / unit, spread.least / unit, spread.most / unit, name, server["ours"]))
    if not rows:
        return False
    rows.sort(key=lambda row: row[0], reverse=ascending)
    middle = [row[0] for row in rows]
    reach = [[row[0] - row[1] for row in rows], [row[2] - row[0] for row in rows]]
    colours = [OURS if row[4] else FLOOR_COLOUR if row[3] == FLOOR else OTHERS for row in rows]
    names = [row[3] for row in rows]
    if logarithmic:
        # Points: on such an axis the length of a bar says nothing.
        axes.errorbar(middle, names, xerr=reach, fmt="none", elinewidth=0.8, ecolor="#212529")
        axes.scatter(middle, names, c=colours, s=45, zorder=3)
        logarithmic_axis(axes)
    else:
        axes.barh(names, middle, color=colours, xerr=reach, error_kw={"elinewidth": 0.8, "ecolor": "#212529"})
    if ratios:
        axes.axvline(1, color=FLOOR_COLOUR, linewidth=0.8, linestyle=":")
    for index, row in enumerate(rows):
        text = f"{row[0]:.2f}" if ratios else f"{row[0]:,.1f}" if unit != 1 else f"{row[0]:,.0f}"
        axes.annotate(text, (row[2], index), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    return True


def draw_stuck(rows, folder):
    """Points for rows of (name, whether it is ours, whether a floor, its p99 and its maximum in ms, each a Spread)."""
    if not rows:
        return []
    name, title = "stuck-loop.svg", "One of two loops hangs: time to the first byte"
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    rows = sorted(rows, key=lambda row: row[3].middle, reverse=True)
    names = [row[0] for row in rows]
    colours = [OURS if row[1] else FLOOR_COLOUR if row[2] else OTHERS for row in rows]
    for column, label, marker in ((3, "p99", "o"), (4, "maximum", "D")):
        spreads = [row[column] for row in rows]
        middle = [spread.middle for spread in spreads]
        reach = [[spread.middle - spread.least for spread in spreads],
                 [spread.most - spread.middle for spread in spreads]]
        axes.errorbar(middle, names, xerr=reach, fmt="none", elinewidth=0.8, ecolor="#212529")
        faces = colours if marker == "o" else "white"
        axes.scatter(middle, names, c=faces, edgecolors=colours, marker=marker, s=45, zorder=3)
        axes.plot([], [], marker=marker, linestyle="none", color=FLOOR_COLOUR, label=label,
                  markerfacecolor=FLOOR_COLOUR if marker == "o" else "white")
    for index, row in enumerate(rows):
        axes.annotate(f"{row[4].middle:,.1f}", (row[4].most, index), xytext=(8, 0), textcoords="offset points",
                      va="center", fontsize=8)
    logarithmic_axis(axes)
    axes.margins(x=0.12)
    axes.set_xlabel("ms")
    axes.tick_params(axis="y", length=0)
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    save(figure, folder / name)
    pyplot.close(figure)
    return [(name, title)]


def draw_services(panels, folder):
    """Bars for (title, rows of name, whether it is ours, whether the base, its ratio, a Spread)."""
    if not panels:
        return []
    name, title = "services.svg", "Relays and small requests: CPU time"
    folder.mkdir(parents=True, exist_ok=True)
    figure, all_axes = pyplot.subplots((len(panels) + 1) // 2, 2, figsize=(12, 2.6 * ((len(panels) + 1) // 2)),
                                       layout="constrained", squeeze=False)
    for axes in list(all_axes.flat)[len(panels):]:
        axes.remove()
    for axes, (label, rows) in zip(all_axes.flat, panels):
        rows = sorted(rows, key=lambda row: row[3].middle, reverse=True)
        middle = [row[3].middle for row in rows]
        reach = [[row[3].middle - row[3].least for row in rows], [row[3].most - row[3].middle for row in rows]]
        colours = [OURS if row[1] else FLOOR_COLOUR if row[2] else OTHERS for row in rows]
        axes.barh([row[0] for row in rows], middle, color=colours, xerr=reach,
                  error_kw={"elinewidth": 0.8, "ecolor": "#212529"})
        for index, row in enumerate(rows):
            axes.annotate(f"{row[3].middle:.2f}", (row[3].most, index), xytext=(6, 0), textcoords="offset points",
                          va="center", fontsize=8)
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0)
        axes.set_title(label, loc="left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, folder / name)
    pyplot.close(figure)
    return [(name, title)]


def logarithmic_axis(axes):
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(axis="both", color="#e9ecef")
    axes.set_axisbelow(True)


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
