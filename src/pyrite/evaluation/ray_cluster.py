"""Where Ray works: on this machine alone, behind its loopback address, or on a cluster that is there already.

Ray carries Python objects between processes by pickle and believes whoever speaks to it: a cluster is one machine as
far as trust goes. A local Ray is reachable from this machine only, sends nothing anywhere, and is gone with the run.
"""

import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from pyrite.core.errors import MissingExtraError, PyriteError, RunFolderError

LOOPBACK = "127.0.0.1"
_ONLY_HERE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: bind to the loopback address, on Linux too
_OBJECT_BYTES = 2**28
_KNOCK_S = 10


@dataclass(frozen=True)
class Cluster:
    """How many workers, and where.

    Args:
        workers: actors, each with a replica of every reward.
        address: of a cluster that is there, such as "auto" or "ray://head:10001"; empty starts one on this machine.
        gpus: accelerators per worker; may be a part of one.
        cpus: of the cluster's, per worker.
    """

    workers: int
    address: str = ""
    gpus: float = 0
    cpus: float = 1

    @property
    def resources(self) -> dict[str, float]:
        """What each worker is given."""
        return {"num_cpus": self.cpus, **({"num_gpus": self.gpus} if self.gpus else {})}

    def task(self, function: Callable[..., Any]) -> Any:
        """The function, to be run where a worker could."""
        import ray

        return ray.remote(**self.resources)(function)

    def beside_caller(self, actor: type) -> Any:
        """The class, its instances living on this machine and started anew if they die."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        here = On(ray.get_runtime_context().get_node_id(), soft=False)
        return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(actor)


@contextmanager
def open_cluster(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected; a local one ends with the context.

    Raises:
        MissingExtraError: Ray is not installed.
        RunFolderError: there is no cluster at the address.
    """
    # Ray and every process that it starts read these when they are loaded.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not cluster.address:
        os.environ[_ONLY_HERE] = "0"
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it shows on stderr what concerns Ray's authors
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            f"--engine ray needs '{error.name}', which is not installed, on this machine and on every other one. Type: "
            "pip install 'pyrite[ray]'"
        ) from error
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # Ray tells there of workers that died; results go to stdout
        if not ray.is_initialized():
            _connect(ray, cluster, stack)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True  # a wrapped one loses what it wraps on its way here
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # an error is raised, and shown by who gets it
        context.execution_options.preserve_order = True
        yield ray


def _connect(ray: Any, cluster: Cluster, stack: ExitStack) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    stack.callback(ray.shutdown)
    if cluster.address:
        try:
            _knock(cluster.address)
            ray.init(address=cluster.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise RunFolderError(
                f"there is no Ray cluster at '{cluster.address}' ({error}). Start one with `ray start --head`, see "
                "docs/how-to/score-on-many-machines.md, or leave --ray-address out for workers on this machine."
            ) from error
        return
    # Ray's sockets lie in it, and their names may have 107 characters.
    folder = tempfile.mkdtemp(prefix="ray-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(ray.shutdown)
    ray.init(
        address="local",
        num_cpus=math.ceil(cluster.workers * cluster.cpus) + 1,
        include_dashboard=False,
        object_store_memory=_OBJECT_BYTES,
        _temp_dir=folder,
        **quiet,
    )
    if (address := ray.util.get_node_ip_address()) != LOOPBACK:
        raise RunFolderError(
            f"Ray would listen at {address}, where other machines reach it, because it was loaded before Pyrite could "
            f"tell it not to. Set {_ONLY_HERE}=0 before this program starts, or connect to a cluster of your own."
        )


def _knock(address: str) -> None:
    """See that somebody listens at HOST:PORT: Ray itself asks there for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


class Carried(Exception):
    """An error of ours on its way from a worker: Ray Data writes its own words into what it carries.

    Args:
        text: of the error, for logs; where Ray writes.
        error: itself.
    """

    def __init__(self, text: str, error: PyriteError) -> None:
        super().__init__(text, error)


@contextmanager
def carrying() -> Iterator[None]:
    """In a worker: let an error of ours reach the caller as it is."""
    try:
        yield
    except PyriteError as error:
        own = getattr(error, "cause", error)  # one that came from another actor is a class of Ray's making
        raise Carried(str(own), own) from error


@contextmanager
def ray_errors_are_ours() -> Iterator[None]:
    """Let an error of ours that a worker met be that error here."""
    try:
        yield
    except Exception as error:
        for one in _chain(error):
            if isinstance(one, Carried):
                raise one.args[1] from None
            if isinstance(one, PyriteError):
                raise one from None
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything it came of: Ray wraps what a worker raised, several times, and once into a subclass."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        inner = getattr(one, "cause", None)
        waiting += [inner if isinstance(inner, BaseException) else None, one.__cause__, one.__context__]
        if inner is None:  # a wrapper that passes for what it wraps comes after it
            yield one
