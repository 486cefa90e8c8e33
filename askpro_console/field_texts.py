"""What is written under the fields of records: texts for listings and schemas, kept in one place, the source."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType


@cache
def field_texts(module: ModuleType) -> dict[tuple[str, str], str]:
    """Class and field to the string that stands under the field: Python keeps it in the source only."""
    found: dict[tuple[str, str], str] = {}
    for record in ast.parse(inspect.getsource(module)).body:
        if not isinstance(record, ast.ClassDef):
            continue
        for field, under in zip(record.body, record.body[1:], strict=False):
            match field, under:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[record.name, name] = " ".join(text.split())
    return found
