"""Actions on queues, job types, schedules and providers."""

from __future__ import annotations

from askpro_console.action_lists.entry import Action

ACTIONS: tuple[Action, ...] = ()
