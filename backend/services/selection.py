"""Statements with just the conditions that were asked for, so that each has the plan of its own index."""

from __future__ import annotations


class Selection:
    """The conditions of one statement and their values; the first value is always the company."""

    def __init__(self, company_id: object) -> None:
        self.values: list[object] = [company_id]
        self._conditions: list[str] = []

    def where(self, condition: str, *values: object) -> None:
        """Add a condition in which `{}` stands for each value, in their order. `condition` is text of ours."""
        places = [f"${len(self.values) + number}" for number, _ in enumerate(values, 1)]
        self.values.extend(values)
        self._conditions.append(condition.format(*places))

    def where_given(self, condition: str, value: object | None) -> None:
        """Add a condition unless its value is None."""
        if value is not None:
            self.where(condition, value)

    def value(self, value: object) -> str:
        """The place of a value outside of a condition."""
        self.values.append(value)
        return f"${len(self.values)}"

    @property
    def conditions(self) -> str:
        """What follows the first condition of the statement."""
        return "".join(f"\n      and {condition}" for condition in self._conditions)
