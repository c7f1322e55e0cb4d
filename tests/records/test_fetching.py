import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx  # noqa: TID253 - the rule keeps the command light, not its tests
import pytest

from pyrite.core.errors import CheckpointError, RunFolderError
from pyrite.records.fetching import download, fetch
from pyrite.records.published import ROOT_VARIABLE
from pyrite.records.published_table import PublishedFile

CONTENT = bytes(range(256)) * 40
URL = "https://publisher.example/file.pt"
FILE = PublishedFile("file.pt", len(CONTENT), exact=True, sha256=hashlib.sha256(CONTENT).hexdigest())
Handler = Callable[[httpx.Request], httpx.Response]


def quiet(*_: object) -> None: ...


def serve(handler: Handler) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(handler))


class Publisher:
    """A server that can continue a download; remembers from which byte each request began."""

    def __init__(self, content: bytes = CONTENT, *, continues: bool = True) -> None:
        self.content, self.continues = content, continues
        self.starts: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.starts.append(start)
        if start >= len(self.content):
            return httpx.Response(416)
        if start and self.continues:
            return httpx.Response(206, content=self.content[start:])
        return httpx.Response(200, content=self.content)


def breaking(after: int) -> Handler:
    """A server whose connection breaks after so many bytes."""

    def pieces():
        yield CONTENT[:after]
        raise httpx.ReadError("the connection broke")

    return lambda request: httpx.Response(200, content=pieces())


def test_a_download_has_the_bytes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = download(URL, tmp_path / "new", FILE, progress=lambda *row: told.append(row), client=serve(Publisher()))
    assert path.read_bytes() == CONTENT
    assert list((tmp_path / "new").iterdir()) == [path]
    assert told[-1] == ("file.pt", len(CONTENT), len(CONTENT))


def test_a_broken_download_is_no_file_and_the_next_attempt_continues_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"could not be fetched: the connection broke. .*same command again"):
        download(URL, tmp_path, FILE, progress=quiet, client=serve(breaking(1000)))
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt.part"]
    publisher = Publisher()
    assert download(URL, tmp_path, FILE, progress=quiet, client=serve(publisher)).read_bytes() == CONTENT
    assert publisher.starts == [1000]


def test_a_server_that_cannot_continue_is_asked_for_the_whole_again(tmp_path: Path) -> None:
    (tmp_path / "file.pt.part").write_bytes(b"something else")
    publisher = Publisher(continues=False)
    assert download(URL, tmp_path, FILE, progress=quiet, client=serve(publisher)).read_bytes() == CONTENT


def test_a_download_killed_before_its_renaming_is_finished_without_a_byte(tmp_path: Path) -> None:
    (tmp_path / "file.pt.part").write_bytes(CONTENT)
    publisher = Publisher()
    assert download(URL, tmp_path, FILE, progress=quiet, client=serve(publisher)).read_bytes() == CONTENT
    assert publisher.starts == [len(CONTENT)]


@pytest.mark.parametrize(
    ("content", "told"),
    [(CONTENT[:-1], "it has 10239 bytes"), (CONTENT[:-1] + b"!", "its sha256 is"), (b"", "it has 0 bytes")],
    ids=["shorter", "one byte changed", "empty"],
)
def test_another_file_is_refused_and_deleted(tmp_path: Path, content: bytes, told: str) -> None:
    handler = Publisher(content) if content else lambda _: httpx.Response(200, content=b"")
    with pytest.raises(CheckpointError, match=f"is not the file the manifest lists: {told}"):
        download(URL, tmp_path, FILE, progress=quiet, client=serve(handler))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_told_with_its_status(tmp_path: Path, status: int) -> None:
    with pytest.raises(CheckpointError, match=f"could not be fetched: .*{status}"):
        download(URL, tmp_path, FILE, progress=quiet, client=serve(lambda _: httpx.Response(status)))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("a file")
    with pytest.raises(RunFolderError, match=r"cannot make the folder .*in_the_way"):
        download(URL, tmp_path / "in_the_way", FILE, progress=quiet, client=serve(Publisher()))


def test_a_full_disk_is_told_and_what_arrived_is_kept(tmp_path: Path) -> None:
    import errno
    import io
    from unittest import mock

    real_write = io.BufferedWriter.write

    class Full(io.BufferedWriter):
        def write(self, piece: bytes) -> int:  # type: ignore[override]
            if self.tell() + len(piece) > 4096:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_write(self, piece)

    def opened(path: Path, mode: str) -> Full:
        return Full(io.FileIO(path, mode.replace("b", "")))

    chunks = lambda _: httpx.Response(200, content=(CONTENT[at : at + 1024] for at in range(0, 10240, 1024)))  # noqa: E731
    with (
        mock.patch.object(Path, "open", opened),
        pytest.raises(RunFolderError, match=r"No space left.*free some space"),
    ):
        download(URL, tmp_path, FILE, progress=quiet, client=serve(chunks))
    assert (tmp_path / "file.pt.part").stat().st_size == 4096


def test_fetch_takes_a_url_into_the_folder_of_the_reward_and_asks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=bytes(543_000_000 // 100))

    with pytest.raises(CheckpointError, match="is not the file the manifest lists"):
        fetch("maniqa", progress=quiet, client=serve(handler))
    assert asked == ["https://github.com/IIGROUP/MANIQA/releases/download/Koniq10k/ckpt_koniq10k.pt"]
    (tmp_path / "maniqa").mkdir(exist_ok=True)
    (tmp_path / "maniqa" / "ckpt_koniq10k.pt").write_bytes(b"weights")
    assert fetch("maniqa", progress=quiet, client=serve(handler)) == [tmp_path / "maniqa" / "ckpt_koniq10k.pt"]
    assert len(asked) == 1


class FakeHub:
    """Stands in for `hf_hub_download`: a network in a dictionary."""

    def __init__(self, cache: Path, offered: dict[tuple[str, str], int]) -> None:
        self.cache, self.offered = cache, offered

    def __call__(self, repository: str, name: str) -> str:
        from huggingface_hub.errors import EntryNotFoundError

        if (repository, name) not in self.offered:
            raise EntryNotFoundError(f"404: {name} is not in {repository}")
        folder = self.cache / f"models--{repository.replace('/', '--')}"
        path = folder / "snapshots" / "c0ffee" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text("c0ffee")
        with path.open("wb") as file:
            file.truncate(self.offered[repository, name])  # a sparse file: any size, no disk
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[tuple[str, str], int]], None]:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def offer(offered: dict[tuple[str, str], int]) -> None:
        monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeHub(tmp_path / "hub", offered))

    return offer


CLIP = "openai/clip-vit-base-patch32"
CLIPSCORE = {
    (CLIP, "pytorch_model.bin"): 605_200_000,
    (CLIP, "config.json"): 4_190,
    (CLIP, "vocab.json"): 862_328,
    (CLIP, "merges.txt"): 524_619,
}


def test_fetch_takes_every_part_from_the_hub(hub: Callable[..., None]) -> None:
    hub(CLIPSCORE)
    assert [path.name for path in fetch("clipscore", progress=quiet)] == ["pytorch_model.bin", "vocab.json"]


def test_fetch_takes_the_other_form_where_the_hub_has_only_that(hub: Callable[..., None]) -> None:
    hub({(CLIP, "model.safetensors"): 605_157_884, **{key: CLIPSCORE[key] for key in list(CLIPSCORE)[1:]}})
    assert [path.name for path in fetch("clipscore", progress=quiet)] == ["model.safetensors", "vocab.json"]


def test_a_file_the_hub_does_not_have_is_told(hub: Callable[..., None]) -> None:
    hub({(CLIP, "pytorch_model.bin"): 605_200_000})
    with pytest.raises(CheckpointError, match=r"config.json of openai/clip-vit-base-patch32 could not be fetched: 404"):
        fetch("clipscore", progress=quiet)


def test_a_file_of_another_size_on_the_hub_is_told(hub: Callable[..., None]) -> None:
    hub({**CLIPSCORE, (CLIP, "pytorch_model.bin"): 1_000_000})
    with pytest.raises(CheckpointError, match=r"has 1 MB, and the manifest lists pytorch_model.bin .* with 605 MB"):
        fetch("clipscore", progress=quiet)


def test_offline_mode_is_told_as_such(hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    def refuse(*_: object) -> str:
        raise OfflineModeIsEnabled("offline")

    hub({})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set, which forbids it. Unset it"):
        fetch("clipscore", progress=quiet)
