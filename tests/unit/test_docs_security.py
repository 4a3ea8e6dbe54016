"""docs/security.md: each statement names its tests, and they exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text().partition("\n## Limits")[0]  # whose table names the place instead
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and TEXT.index(line) > TEXT.index("\n## A request")]


def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_statement_has_a_test_that_exists():
    rows = [row for row in ROWS if not row.startswith(("|---", "| statement"))]
    assert len(rows) > 20
    for row in rows:
        file, named = "", 0
        for here, name in re.findall(r"`([\w/]*(?:\.py)?)::(\w+)`", row):
            file = here or file
            assert name in functions(file), f"{file} has no {name}"
            named += 1
        assert named, f"no test is named: {row}"
