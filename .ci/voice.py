"""Measure how often docstrings and docs say "it", "what", "who", "such" or "those" where they could name the thing.

Prints a line for each folder of the package and for the docs: vague words per 100 words. Fails above the limit.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_kart"
LIMIT = 2.0
VAGUE = frozenset({"it", "what", "who", "such", "those"})
CODE = re.compile(r"```.*?```|::\n\n(?: +.*\n|\n)+|:\w+:`[^`]*`|``[^`]*``|`[^`]*`", re.DOTALL)


def main() -> None:
    """Print the rates, and fail where one is above the limit."""
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        district = path.relative_to(PACKAGE).parts[0]
        places.setdefault(district if "." not in district else "(modules)", []).extend(docstrings(path))
    docstring_rate = rate(text for texts in places.values() for text in texts)
    pages = {
        path.name: [path.read_text(encoding="utf-8")] for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    }
    docs_rate = rate(text for texts in pages.values() for text in texts)
    for name, texts in {**places, **pages}.items():
        print(f"  {rate(texts):5.2f}  {name}")
    print(f"docstrings {docstring_rate:.2f}, docs {docs_rate:.2f} vague words per 100; the limit is {LIMIT}")
    if max(docstring_rate, docs_rate) > LIMIT:
        sys.exit("name the subject in place of it, what, who, such and those: CONTRIBUTING.md, The voice")


def docstrings(path: Path) -> Iterator[str]:
    """Return the docstrings of a module, those of attributes included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for inner in getattr(node, "body", ()) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) else ():
            if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str):
                yield inner.value.value


def rate(texts: Iterable[str]) -> float:
    """Return the vague words per 100 words of prose; code does not count."""
    words = [word.lower() for text in texts for word in re.findall(r"[A-Za-z']+", CODE.sub("", text))]
    return 100 * sum(word in VAGUE for word in words) / max(1, len(words))


if __name__ == "__main__":
    main()
