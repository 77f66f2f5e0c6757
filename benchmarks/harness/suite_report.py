# SPDX-License-Identifier: Apache-2.0
"""What the reports of benchmarks/loops, tls and services have in common."""

from . import figures, report


def setting(found, what, medians, *more):
    """Lines: where the figures come from. `what` was measured; `medians` says which figures are medians."""
    machine = found["machine"]
    lines = [
        *report.origin(found),
        f"- Clients on core {report.join(machine['client_cores'])}, {what} on core "
        f"{report.join(machine['server_cores'])}, loopback; other programs used {100 * machine['busy']:.0f} % of the "
        "processors before",
        f"- Each load counts {found['seconds']:g} s in each round, of {found['rounds']}. {medians}",
        *more,
    ]
    if not found["complete"]:
        lines.append("- **Not complete**: the run ended before all its rounds were.")
    return "\n".join(lines)


def text(opening, sections, heads, found):
    """The report as Markdown. A section is a title, a paragraph, the rows of a table and a paragraph; the paragraphs may
    be empty. The heads are those of the table of servers."""
    ours = {name for name, server in found["servers"].items() if server["ours"]}
    parts = [*opening]
    for title, before, rows, after in sections:
        rows = [[f"**{row[0]}**" if row[0] in ours else row[0], *row[1:]] for row in rows]
        parts += filter(None, [f"## {title}", before, report.markdown(rows), after])
    rows = [heads, *(server_row(name, server) for name, server in found["servers"].items())]
    parts += [f"## {heads[0].capitalize()}s", report.markdown(rows, figures_after=len(heads))]
    parts += report.list_of("Skipped", found["skipped"])
    parts += report.list_of("Failed", {f"{m['load']}, {m['server']}, round {m['round']}": m["failure"]
                                       for m in figures.failures(found["measurements"])})
    return "\n\n".join(parts) + "\n"


def server_row(name, server):
    """Without a cell for options where its kind has none."""
    options = [f"`{server['options']}`" if server["options"] else ""] if "options" in server else []
    return [name, server["about"], *options, server["version"]]


def write(output, content, path, drawn=()):
    """Writes the report of the results in `path`. Returns what to print."""
    output.write_text(content, encoding="utf-8")
    return f"{output} from {path}" + (f", {len(drawn)} chart" if drawn else "")
