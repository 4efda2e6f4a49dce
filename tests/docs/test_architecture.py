"""docs/architecture.md says of the rooms what tests/test_imports.py enforces."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_rooms_of_the_page_are_those_of_the_import_table():
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text())
    (table,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_IMPORT"
    )
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Rooms")[2].partition("## Corners")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", section, flags=re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", others)) for room, others in rows} == {
        room: set(others.split()) for room, others in table.items()
    }
