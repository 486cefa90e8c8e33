"""`python -m askpro_console` is `askpro`."""

from __future__ import annotations

import sys

from askpro_console.cli import main

sys.exit(main())
