"""The API against its own description, for long: `python -m bench.schemathesis [--examples N] [--seed S] [options]`.

Further options are schemathesis' own, such as `--phases stateful` or `--max-time 600`. A durable PostgreSQL, a running
API with a salon, and every check of schemathesis: examples, coverage, fuzzing and stateful. The suite has a short run
of the same (tests/api/test_openapi.py). Not a measurement; writes no result.
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
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.services.companies.applying import apply_company
from backend.services.tokens import create_token
from bench.server import durable_server
from tests.api.conftest import CALCOM_SECRET, REJECT_KEY, RETELL_KEY, UNLIMITED
from tests.api.partner import LIFE, add_call, salon
from tests.api.schemathesis_run import schemathesis_run
from tests.api.shared_api import served
from tests.databases import connect_superuser


def main() -> int:
    """Run it; schemathesis' own exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemathesis")
    parser.add_argument("--examples", type=int, default=200, help="at most so many cases for each operation (200)")
    parser.add_argument("--seed", type=int, default=1)
    args, more = parser.parse_known_args()
    base = Path(tempfile.mkdtemp(prefix="askpro-bench-"))
    try:
        with durable_server(base) as (address, superuser):
            token = asyncio.run(_declare(address, superuser))
            with served(_config(address)) as url:
                done = schemathesis_run(url, token, base, "-n", str(args.examples), "--seed", str(args.seed), *more)
                print(done.stdout)
                return done.returncode
    finally:
        shutil.rmtree(base, ignore_errors=True)


async def _declare(address: PostgresAddress, superuser: Superuser) -> str:
    connection = await connect(address, Role.SETUP, application="askpro-bench")
    administrator = await connect_superuser(superuser, address.database)
    try:
        company_id = (await apply_company(connection, salon())).company_id
        await administrator.execute("set search_path = askpro, public")
        for number in range(5):
            await add_call(administrator, company_id, f"call_{number}")
        made = await create_token(connection, "salon", name="bench", scopes=tuple(TokenScope), life=LIFE)
        return made.token
    finally:
        await connection.close()
        await administrator.close()


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
