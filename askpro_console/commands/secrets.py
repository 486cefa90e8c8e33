"""`askpro secrets`: list, set, remove and check secrets; lock and unlock the sealed file."""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.secrets import KNOWN, Look, Place, SecretStore
from askpro_console.system import System
from backend.domain.vocabulary import Verdict

NAME = "secrets"
HELP = "list, set and check secrets"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in (("list", "which secrets are set, and where"), ("doctor", "what every place says")):
        verbs.add_parser(verb, help=text).add_argument("--json", action="store_true")
    put = verbs.add_parser("set", help="keep a secret, read from standard input or asked for without echo")
    put.add_argument("name", metavar="NAME")
    put.add_argument("--sealed", action="store_true", help="in the sealed file, even if there is a keyring")
    put.add_argument("--new-name", action="store_true", help="allow a name that looks like a mistyped one")
    verbs.add_parser("remove", help="forget a secret").add_argument("name", metavar="NAME")
    verbs.add_parser("passphrase", help="seal the file with a passphrase instead of a key file")
    verbs.add_parser("unlock", help="open the sealed file until the next reboot")
    verbs.add_parser("lock", help="forget the passphrase")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    store = System.load().secrets
    match args.verb:
        case "list":
            return _list(store, as_json=args.json)
        case "doctor":
            return _doctor(store, as_json=args.json)
        case "set":
            return _set(store, args.name, sealed=args.sealed, new_name=args.new_name)
        case "remove":
            return _remove(store, args.name)
        case _:
            return _sealed_file(store, args.verb)


def _list(store: SecretStore, *, as_json: bool) -> int:
    rows = []
    for name in store.names():
        last = store.look(name)[-1]
        found = last.verdict is Verdict.OK
        state = str(last.place) if found else "refused" if last.verdict is Verdict.CRIT else "not set"
        rows.append(
            {"name": name, "state": state, "detail": last.detail if state != "not set" else KNOWN.get(name, "")}
        )
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['state']:<12}  {row['detail']}")
    return 0


def _doctor(store: SecretStore, *, as_json: bool) -> int:
    told = {name: store.look(name) for name in store.names()}
    if as_json:
        rows = [
            {"name": name, "place": look.place, "verdict": look.verdict, "detail": look.detail}
            for name, looks in told.items()
            for look in looks
        ]
        print(json.dumps(rows, ensure_ascii=False))
    else:
        for name, looks in told.items():
            print(name)
            for look in looks:
                print(f"  {_sign(look)} {look.place:<12} {look.detail}")
    refused = any(look.verdict is Verdict.CRIT for looks in told.values() for look in looks)
    return 1 if refused else 0


def _sign(look: Look) -> str:
    signs = {Verdict.OK: "set    ", Verdict.UNKNOWN: "-      ", Verdict.WARN: "absent ", Verdict.CRIT: "REFUSED"}
    return signs[look.verdict]


def _set(store: SecretStore, name: str, *, sealed: bool, new_name: bool) -> int:
    if name not in KNOWN and not new_name and (near := nearest(name, KNOWN, cutoff=0.85)):
        raise WrongUsage(f"Did you mean `{near}`?", f"To keep a secret named `{name}` all the same, add --new-name.")
    typed = sys.stdin.isatty()
    value = getpass.getpass(f"{name} (is not shown): ") if typed else sys.stdin.read().rstrip("\r\n")
    place = store.put(name, value, Place.SEALED if sealed else None)
    print(f"{name} is kept in the {place}. Restart what uses it: `askpro down`, `askpro up`.")
    for look in store.look(name):
        if look.verdict is Verdict.OK and look.place is not place:
            print(f"Mind: {look.detail} has one too, and comes first.", file=sys.stderr)
    return 0


def _remove(store: SecretStore, name: str) -> int:
    places = store.remove(name)
    if not places:
        raise Refused(f"Neither keyring nor sealed file has a secret {name}.")
    print(f"{name} is forgotten: {', '.join(places)}.")
    return 0


def _sealed_file(store: SecretStore, verb: str) -> int:
    from askpro_console.sealed import SealedError

    sealed = store.sealed
    try:
        if verb == "lock":
            sealed.lock()
            print("The passphrase is forgotten." if sealed.uses_passphrase else "There is no passphrase to forget.")
        elif verb == "unlock":
            if not sealed.uses_passphrase:
                print("Nothing to unlock: the sealed file has a key file of its own.")
                return 0
            sealed.unlock(_asked("Passphrase: "))
            print("Unlocked until the next reboot or `askpro secrets lock`.")
        else:
            passphrase = _asked("New passphrase: ")
            if sys.stdin.isatty() and passphrase != _asked("Once more: "):
                raise WrongUsage("The two passphrases differ; nothing was changed.")
            sealed.use_passphrase(passphrase)
            print("Sealed with the passphrase. After a reboot: `askpro secrets unlock`.")
    except (SealedError, OSError) as wrong:
        raise Refused(f"{wrong}.") from wrong
    return 0


def _asked(prompt: str) -> str:
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise WrongUsage("An empty passphrase protects nothing.")
    return text
