"""Deliver what the local MLflow server holds to the one that is configured: what TRACKING_OFFLINE=1 left there.

Every run that has ended is copied, with its params, metrics, tags, datasets, files and registered
versions, in order of creation and each once, also when this was ended in the middle and is started
again. Aliases are not touched: which version goes into production is evaluate's decision.

Exit codes: 0 all of it is there · 1 some of it could not be delivered, or a server failed in the
middle · 3 there is no such server, or it does not let us in · 6 another sync is at work here
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import configure
import dagshub
import env_file
import sync_pointers
from env_file import SettingsError
from mlflow_rest import Json, RefusedError, Server, ServerError
from sync_runs import Delivered, Deliverer, has_ended, runs
from sync_versions import VersionDeliverer, versions

from dvc_runner.doctor import tracking
from dvc_runner.errors import ConfigurationError
from dvc_runner.workspace import secrets
from dvc_runner.workspace.holding import is_taken

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / ".local" / "sync.lock"
EXIT_SOME, EXIT_CONFIGURATION, EXIT_BUSY = 1, 3, 6


def say(words: str) -> None:
    """Tell a person."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def target(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the server that is configured, with TRACKING_OFFLINE or without.

    Raises:
        SettingsError: None is.
        ConfigurationError: It does not answer as MLflow does, or not to us.
    """
    online = {name: value for name, value in settings.items() if name != env_file.OFFLINE}
    server = configure.tracking(online, dagshub.repository(online, dagshub.git_remote_urls(ROOT)))
    if server is None:
        raise SettingsError(
            "there is no server to deliver to: only the local one is in use",
            "set MLFLOW_TRACKING_URI or the DAGSHUB_ variables in .env (.env.example explains them)",
        )
    extra = (secrets.TOKEN, secrets.CERTIFICATE)
    server |= {name: settings[name] for name in extra if name in settings}
    tracking.prove(server)
    return server


def sync(source: Server, to: Server) -> int:
    """Deliver; say of each run and version what was done.

    Returns:
        The exit code.
    """
    say(f"sync: {source.uri} to {to.uri}")
    deliverer = Deliverer(source, to)
    ours: dict[str, Json] = {}
    copies: dict[str, Delivered] = {}
    there, failed = 0, 0
    for experiment, run in runs(source):
        run_id = run["info"]["run_id"]
        words = f"  {experiment} run {run_id}"
        if not has_ended(source, run):
            say(f"{words}: {run['info']['status']}, left for later")
            continue
        try:
            copies[run_id] = deliverer.deliver(experiment, run)
        except RefusedError as error:
            failed += 1
            say(f"{words}: not delivered: {error}")
            continue
        ours[run_id] = run
        there += not copies[run_id].words
        if copies[run_id].words:
            say(f"{words} ({run['info']['status']}): {copies[run_id].words}")
    version_deliverer = VersionDeliverer(to, deliverer.origin)
    failed += sync_versions(source, version_deliverer, ours, copies)
    if told := sync_pointers.tell(ROOT, version_deliverer.copies):
        say(f"sync: {told} results of earlier runs can be restored with the versions that are there")
    say(f"sync: {len(copies)} runs are delivered, {there} of them were before" + f"; {failed} failures" * bool(failed))
    return EXIT_SOME if failed else 0


def sync_versions(
    source: Server, deliverer: VersionDeliverer, ours: Mapping[str, Json], copies: Mapping[str, Delivered]
) -> int:
    """Deliver the versions of the runs that were delivered.

    Returns:
        How many could not be.
    """
    failed = 0
    for version in versions(source):
        try:
            words = deliverer.deliver(version, ours, copies)
        except RefusedError as error:
            words = f"not delivered: {error}"
        failed += words.startswith("not")
        if words:
            say(f"  {version['name']} version {version['version']}: {words}")
    return failed


def main() -> int:
    """Do what the settings say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # What is to be delivered, where it is not the local server: for tests, and for a server that moves.
    parser.add_argument("--from", dest="source", metavar="URI", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = env_file.settings(ROOT)
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        if not is_taken(lock.fileno()):
            sys.stderr.write("sync: another sync is at work in this clone\nwait for its end\n")
            return EXIT_BUSY
        to = Server(target(settings))
        source = {configure.URI: options.source} if options.source else configure.local_server(settings)
        if source[configure.URI].rstrip("/") == to.uri:
            raise SettingsError(f"{to.uri} is the local server itself", "set MLFLOW_TRACKING_URI to another one")
        return sync(Server(source), to)


def run_main() -> int:
    """Turn what a user can put right into one or two lines and its exit code."""
    try:
        return main()
    except ServerError as error:
        sys.stderr.write(f"sync: {error}\nwhat was delivered stays; make sync again delivers the rest\n")
        return EXIT_SOME
    except RefusedError as error:
        sys.stderr.write(f"sync: the server refused: {error}\nwhat was delivered stays\n")
        return EXIT_SOME
    except ConfigurationError as error:
        sys.stderr.write(f"sync: {error}\n{error.remedy}\n")
    except SettingsError as error:
        sys.stderr.write(f"sync: {error}\n")
    except OSError as error:
        sys.stderr.write(f"sync: {error.strerror}: {error.filename or ''}\n")
    except KeyboardInterrupt:
        sys.stderr.write("sync: ended; make sync again delivers the rest\n")
        return 130
    return EXIT_CONFIGURATION


if __name__ == "__main__":
    sys.exit(run_main())
