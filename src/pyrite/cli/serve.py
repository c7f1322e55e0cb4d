"""`pyrite serve`: rewards over HTTP, for trainers on other machines."""

import ipaddress
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrite.cli.score import BATCH_SIZE, load_panel

if TYPE_CHECKING:
    from fastapi import FastAPI

SETTINGS_VARIABLE = "PYRITE_SERVE_SETTINGS"
_FAILURE = "failure.txt"
_SHORTEST_TOKEN = 16
_WORKER_SILENCE_S = 20  # a worker that loads weights may answer its supervisor late


def serve(
    rewards: Annotated[str, typer.Argument(help="Names, separated by commas.")],
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads the rewards once more.")] = 1,
    token_file: Annotated[
        Path | None, typer.Option(help="Holds the token that clients must send; $PYRITE_TOKEN if left out.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; found out if left out.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the models' towers: float32, bfloat16 or float16.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most images that a model sees at once.")] = BATCH_SIZE,
    max_wait_ms: Annotated[float, typer.Option(min=0, help="How long an image waits for others to join it.")] = 5.0,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Images that may wait; beyond them the answer is 429.")
    ] = 1024,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request in MiB; beyond it the answer is 413.")] = 64,
) -> None:
    """Serve rewards over HTTP: `remote` in a recipe, or any client, has images scored here.

    SIGTERM lets the server answer what it accepted; new requests get 503. GET /openapi.json describes everything.
    One process per GPU: CUDA_VISIBLE_DEVICES=0 pyrite serve ... --port 8000, and so on.

    Examples: `pyrite serve artifact-pocket`, `pyrite serve "hpsv2.1,deqa" --dtype bfloat16 --port 8001`,
    `PYRITE_TOKEN=$(cat token) pyrite serve hpsv2.1 --host 0.0.0.0`
    """
    _require_extra()
    settings = {
        "rewards": rewards,
        "token_file": None if token_file is None else str(token_file.absolute()),
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
        "max_wait_ms": max_wait_ms,
        "max_waiting": max_waiting,
        "max_body_mb": max_body_mb,
    }
    _check_token(host, token_file)
    if workers == 1:
        _run(build_app(settings), host, port, 1)
        return
    with tempfile.TemporaryDirectory(prefix="pyrite-serve-") as shared:
        os.environ[SETTINGS_VARIABLE] = json.dumps(settings | {"shared": shared})
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", shared)
        _run("pyrite.cli.serve:worker_app", host, port, workers)
        _raise_failure(Path(shared))


def worker_app() -> "FastAPI":
    """The application of one worker process; uvicorn calls it there."""
    from uvicorn.config import STARTUP_FAILURE

    from pyrite.core.errors import PyriteError

    settings = json.loads(os.environ[SETTINGS_VARIABLE])
    try:
        return build_app(settings)
    except PyriteError as error:
        (Path(settings["shared"]) / _FAILURE).write_text(str(error), encoding="utf-8")
        sys.exit(STARTUP_FAILURE)  # uvicorn then stops; any other end of a worker makes it start the next one


def build_app(settings: dict[str, Any]) -> "FastAPI":
    """The application that these settings describe, its rewards loaded.

    Raises:
        RecipeError: no name, or one twice.
        UnknownNameError: no reward of that name.
        CheckpointError: weights that are missing or not what they should be.
    """
    from pyrite.rewards.remote_connection import read_token
    from pyrite.serving.app import create_app
    from pyrite.serving.limits import Limits

    panel = load_panel(
        settings["rewards"], device=settings["device"], dtype=settings["dtype"], batch_size=settings["batch_size"]
    )
    limits = Limits(
        max_body_bytes=settings["max_body_mb"] * 2**20,
        max_waiting_bytes=max(4 * settings["max_body_mb"] * 2**20, Limits.max_waiting_bytes),
        max_waiting_images=settings["max_waiting"],
        max_items=min(Limits.max_items, settings["max_waiting"]),
        max_batch=settings["batch_size"],
        max_wait_s=settings["max_wait_ms"] / 1000,
    )
    return create_app(panel, limits=limits, token=read_token(settings["token_file"]))


def _run(app: "FastAPI | str", host: str, port: int, workers: int) -> None:
    import uvicorn

    from pyrite.serving.background import KEEP_ALIVE_S

    uvicorn.run(
        app,
        factory=isinstance(app, str),
        host=host,
        port=port,
        workers=workers,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=_WORKER_SILENCE_S,
        proxy_headers=False,
        access_log=False,
    )


def _raise_failure(shared: Path) -> None:
    """What kept a worker from starting, as the error of this command: uvicorn itself ends as if all were well."""
    from pyrite.core.errors import RewardError

    if (failure := shared / _FAILURE).exists():
        raise RewardError(failure.read_text(encoding="utf-8"))


def _check_token(host: str, token_file: Path | None) -> None:
    from pyrite.core.errors import RecipeError
    from pyrite.rewards.remote_connection import TOKEN_VARIABLE, read_token

    token = read_token(token_file)
    if token is None and not _is_loopback(host):
        raise RecipeError(
            f"--host {host} lets other machines in, and without a token everybody among them could use this one. Put a "
            f"secret into ${TOKEN_VARIABLE} or name its file: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' > token; "
            f"pyrite serve ... --host {host} --token-file token"
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise RecipeError(
            f"the token has {len(token)} characters, and one shorter than {_SHORTEST_TOKEN} can be guessed. Make one: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_extra() -> None:
    from pyrite.core.errors import MissingExtraError

    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"serving rewards needs '{error.name}', which is not installed. Type: pip install 'pyrite[serve]'"
        ) from error
