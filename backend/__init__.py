"""The system: domain rules, stores, queue, services, HTTP, watching and the process stack. Never imports Textual."""
