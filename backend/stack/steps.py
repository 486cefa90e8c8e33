"""The steps of a start, as the start screen and `askpro up` show them while they happen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from backend.stack.failures import StackFailure
from backend.stack.status import Step, StepState


@dataclass(slots=True)
class RunningStep:
    """One step in progress; whoever runs it says how far it is."""

    name: str
    state: StepState = StepState.WAITING
    began: float = 0.0
    ended: float = 0.0
    detail: str = ""
    hint: str = ""


class Steps:
    """All steps of one start, in order; several may run at once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._steps = {name: RunningStep(name) for name in names}

    @contextmanager
    def running(self, name: str) -> Iterator[RunningStep]:
        """The step runs within the block and has failed when the block raises."""
        step = self._steps[name]
        step.state, step.began = StepState.RUNNING, time.monotonic()
        try:
            yield step
        except StackFailure as failure:
            step.state, step.detail, step.hint = StepState.FAILED, failure.message, failure.hint
            raise
        except Exception as error:
            step.state, step.detail = StepState.FAILED, f"{type(error).__name__}: {error}"
            raise
        else:
            step.state = StepState.DONE
        finally:
            step.ended = time.monotonic()

    def told(self) -> tuple[Step, ...]:
        """All steps as they stand."""
        return tuple(
            Step(
                name=step.name,
                state=step.state,
                seconds=_seconds(step),
                detail=step.detail,
                hint=step.hint,
            )
            for step in self._steps.values()
        )


def _seconds(step: RunningStep) -> float | None:
    if step.state is StepState.WAITING:
        return None
    end = step.ended if step.ended else time.monotonic()
    return round(end - step.began, 3)
