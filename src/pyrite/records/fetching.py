"""Fetching published weights, on request: from the hub through its own client and cache, or from a URL in pieces.

A file from a URL grows under the name `*.part` and gets its own name only when its size and sha256 are right, so a
killed download never passes for weights, and the same command continues it. Files from the hub lie in the Hugging Face
cache, where other tools find them too.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyrite.core.errors import CheckpointError
from pyrite.records.jsonl import teaching_os_errors
from pyrite.records.published import find_file, published, readable_size, shard_paths, weights_root
from pyrite.records.published_table import PublishedFile, PublishedPart

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes that are there and the bytes it will have."""


def fetch(name: str, *, progress: Progress, client: "httpx.Client | None" = None) -> list[Path]:
    """Bring everything a reward needs to this disk; what is there already is not fetched again.

    Args:
        name: of a reward in `published_names`.
        progress: told how far a file from a URL is; the hub's client shows its own bars.
        client: what opens URLs; None makes one.

    Returns:
        The first file of each part, as `find_file` gives it.

    Raises:
        UnknownNameError: no weights are listed under that name.
        CheckpointError: the publisher does not answer, or offers another file than the one listed.
        RunFolderError: it cannot be written.
    """
    for role, part in published(name).items():
        try:
            find_file(name, role)
        except CheckpointError:
            if part.url:
                download(part.url, weights_root() / name, part.files[0], progress=progress, client=client)
            else:
                _fetch_from_hub(part)
    return [find_file(name, role) for role in published(name)]


def download(
    url: str, folder: Path, file: PublishedFile, *, progress: Progress, client: "httpx.Client | None" = None
) -> Path:
    """One file from a URL, continued where an earlier attempt stopped.

    Args:
        url: where it is.
        folder: where it goes, under its own name; created if needed.
        file: what it must turn out to be.
        progress: told after each piece.
        client: what opens the URL; None makes one.

    Raises:
        CheckpointError: the server does not answer or refuses, the connection breaks, or it is another file.
        RunFolderError: it cannot be written.
    """
    import httpx

    target, partial = folder / file.name, folder / f"{file.name}.part"
    with teaching_os_errors(f"make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    own = client or httpx.Client(follow_redirects=True, timeout=60)
    try:
        _continue(own, url, partial, lambda done: progress(file.name, done, file.num_bytes))
    except httpx.HTTPError as error:
        raise CheckpointError(
            f"{url} could not be fetched: {error or type(error).__name__}. What has arrived is kept in {partial}; "
            f"give the same command again and it continues, or put the file at {target} yourself."
        ) from error
    finally:
        if client is None:
            own.close()
    if problem := _difference(partial, file):
        partial.unlink()
        raise CheckpointError(
            f"{url} is not the file the manifest lists: {problem}. Scores made with it would pass for another "
            f"model's, so it was deleted. Try once more; if it stays so, the publisher has changed it."
        )
    with teaching_os_errors(f"rename {partial}"):
        os.replace(partial, target)
    return target


def _continue(client: "httpx.Client", url: str, partial: Path, tell: Callable[[int], None]) -> None:
    """Append to `partial` what it lacks, or start over where the server cannot continue."""
    have = partial.stat().st_size if partial.exists() else 0
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as reply:
        if have and reply.status_code == 416:  # it had arrived in full, or holds more than there is: the check decides
            return
        reply.raise_for_status()
        continued = reply.status_code == 206
        done = have if continued else 0
        with teaching_os_errors(f"write {partial}"), partial.open("ab" if continued else "wb") as file:
            for piece in reply.iter_bytes():
                file.write(piece)
                done += len(piece)
                tell(done)


def _difference(path: Path, file: PublishedFile) -> str:
    """What tells the file on disk from the one listed; empty if nothing does."""
    size = path.stat().st_size
    if not file.fits(size):
        return f"it has {size} bytes, and {file.name} about {file.num_bytes}"
    if file.sha256:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != file.sha256:
            return f"its sha256 is {found}, and that of {file.name} is {file.sha256}"
    return ""


def _fetch_from_hub(part: PublishedPart) -> None:
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    repository, files = part.repositories[0], list(part.files)
    for file in files:  # grows by the shards that an index among them names
        try:
            try:
                path = hf_hub_download(repository, file.name)
            except EntryNotFoundError:
                if not file.other_form:
                    raise
                path = hf_hub_download(repository, file.other_form)
        except OfflineModeIsEnabled as error:
            raise CheckpointError(
                f"{file.name} of {repository} was not fetched: HF_HUB_OFFLINE is set, which forbids it. Unset it for "
                "this one command."
            ) from error
        except (HfHubHTTPError, EntryNotFoundError, httpx.HTTPError, OSError) as error:
            raise CheckpointError(
                f"{file.name} of {repository} could not be fetched: {str(error).splitlines()[0]}. What has arrived is "
                f"kept; give the same command again, or copy the file from a machine that has it and name its folder "
                "with weights=."
            ) from error
        if not file.fits(size := Path(path).stat().st_size):
            raise CheckpointError(
                f"{path} has {readable_size(size)}, and the manifest lists {file.name} of {repository} with "
                f"{readable_size(file.num_bytes)}: its publisher has changed it, and its scores may differ from the "
                "published ones. Name it with weights= if you want it nevertheless."
            )
        files += [PublishedFile(shard.name) for shard in shard_paths(Path(path)) if shard != Path(path)]
