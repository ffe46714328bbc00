"""Simulations tell their numbers as Markdown at the end of a run; they go into benchmarks/RESULTS.md."""

from collections.abc import Callable

import pytest

TABLES: dict[str, list[dict[str, object]]] = {}


@pytest.fixture
def tell() -> Callable[..., None]:
    """`tell("A/A under peeking", metric="acceptance", false_alarms=.01)`: one row of that table."""

    def row(table: str, **cells: object) -> None:
        TABLES.setdefault(table, []).append(cells)

    return row


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, rows in TABLES.items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        terminalreporter.write_line(f"\n### {title}\n")
        terminalreporter.write_line("| " + " | ".join(name.replace("_", " ") for name in names) + " |")
        terminalreporter.write_line("|" + "---|" * len(names))
        for row in rows:
            terminalreporter.write_line("| " + " | ".join(_cell(row.get(name, "")) for name in names) + " |")


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
