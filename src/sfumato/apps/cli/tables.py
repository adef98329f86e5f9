"""Tables on stdout."""


def print_table(*rows: tuple[str, ...], title: str | None = None) -> None:
    """Print a table: its column heads, then its rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heads, *lines = rows
    table = Table(*heads, title=title)
    for line in lines:
        table.add_row(*(Text(cell, overflow="fold") for cell in line))
    Console().print(table)
