"""The API against its own description, for long: `python -m bench.schemathesis [--examples N] [--seed S] [--time S]`.

A durable PostgreSQL, a running API with a salon, and schemathesis with every check: examples, coverage, fuzzing and
stateful. The suite has a short run of the same (tests/api/test_openapi.py). Not a measurement; writes no result.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from backend.api.config import ApiConfig
from backend.domain.vocabulary import TokenScope
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.services.companies import apply_company
from backend.services.tokens import create_token
from bench.server import durable_server
from tests.api.conftest import CALCOM_SECRET, REJECT_KEY, RETELL_KEY, UNLIMITED
from tests.api.partner import LIFE, salon
from tests.api.schemathesis_run import schemathesis_run
from tests.api.shared_api import served


def main() -> int:
    """Run it; schemathesis' own exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemathesis")
    parser.add_argument("--examples", type=int, default=200, help="at most so many cases for each operation (200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time", type=int, help="go on for so many seconds")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="askpro-bench-"))
    try:
        with durable_server(base) as (address, _):
            token = asyncio.run(_declare(address))
            with served(_config(address)) as url:
                more = [] if args.time is None else ["--max-time", str(args.time)]
                done = schemathesis_run(url, token, base, "-n", str(args.examples), "--seed", str(args.seed), *more)
                print(done.stdout)
                return done.returncode
    finally:
        shutil.rmtree(base, ignore_errors=True)


async def _declare(address: PostgresAddress) -> str:
    connection = await connect(address, Role.SETUP, application="askpro-bench")
    try:
        await apply_company(connection, salon())
        made = await create_token(connection, "salon", name="bench", scopes=tuple(TokenScope), life=LIFE)
        return made.token
    finally:
        await connection.close()


def _config(address: PostgresAddress) -> ApiConfig:
    return ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=address,
        valkey_url=None,
        retell_keys=(RETELL_KEY,),
        calcom_secrets=(CALCOM_SECRET,),
        reject_key=REJECT_KEY,
        version="0.0.0-bench",
        dashboard_token="bench-dashboard-token",
        limits=UNLIMITED,
    )


if __name__ == "__main__":
    sys.exit(main())
