"""Downloads of event data sets, from a server on this machine: whole or absent, and resumed where
they ended."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import numpy as np
import pytest
from event_files import write_nmnist

from spikeloom import spikevision
from spikeloom.spikevision import download
from spikeloom.spikevision.spikedata import nmnist

pytest.importorskip("h5py")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; breaks off after ``limit`` bytes; knows ranges if ``ranges``."""

    content, limit, ranges, asked = b"", None, True, []

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.ranges else 0
        if start > len(self.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : None if self.limit is None else start + self.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    content = np.random.default_rng(0).bytes(5000)
    handler = type("Handler", (Server,), {"content": content, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        handler.archive = download.Archive(
            "file.zip",
            f"http://127.0.0.1:{running.server_port}/x",
            hashlib.md5(content).hexdigest(),
            "https://page",
        )
        yield handler
        running.shutdown()
        thread.join()


def test_a_download_is_whole_or_absent(server, tmp_path):
    path = download.fetch(server.archive, tmp_path / "new")
    assert path.read_bytes() == server.content and [
        p.name for p in (tmp_path / "new").iterdir()
    ] == ["file.zip"]
    assert (
        download.find_or_fetch(server.archive, tmp_path / "new") == path and len(server.asked) == 1
    )


def test_an_interrupted_download_goes_on_where_it_ended(server, tmp_path):
    server.limit = 2000
    for kept in (2000, 4000):
        with pytest.raises(
            ConnectionError,
            match=rf"closed the connection .*the next attempt resumes after {kept} bytes",
        ):
            download.fetch(server.archive, tmp_path)
    assert not (tmp_path / "file.zip").exists()
    assert download.fetch(server.archive, tmp_path).read_bytes() == server.content
    assert server.asked == [None, "bytes=2000-", "bytes=4000-"]


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(server.content[:2000])
    server.ranges = False
    assert download.fetch(server.archive, tmp_path).read_bytes() == server.content


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(bytes(6000))
    assert download.fetch(server.archive, tmp_path).read_bytes() == server.content


def test_a_whole_part_needs_no_connection(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(server.content)
    assert download.fetch(server.archive, tmp_path).exists() and server.asked == []


def test_a_wrong_checksum_leaves_no_file(server, tmp_path):
    wrong = server.archive._replace(md5="0" * 32)
    with pytest.raises(ValueError, match=r"must have the MD5 sum 0+, got [0-9a-f]+ and removed it"):
        download.fetch(wrong, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file.zip").write_bytes(b"mine")
    with pytest.raises(
        ValueError, match=r"file\.zip must have the MD5 sum .* delete it and get it again"
    ):
        download.find_or_fetch(server.archive, tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == b"mine"


def test_without_a_connection_the_error_says_where_to_get_and_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    offline = nmnist.ARCHIVES["Train"]._replace(url="http://127.0.0.1:9/x")
    monkeypatch.setitem(nmnist.ARCHIVES, "Train", offline)
    with pytest.raises(
        ConnectionError,
        match=r"Train\.zip must be in .* which failed .*; without a connection, get it from "
        r"https://www",
    ):
        spikevision.NMNIST(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_data_set_is_downloaded_and_read(server, tmp_path, monkeypatch):
    made = write_nmnist(tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        for file in (tmp_path / "made").rglob("*.bin"):
            archive.write(file, file.relative_to(tmp_path / "made"))
    server.content = (tmp_path / "Train.zip").read_bytes()
    mine = server.archive._replace(name="Train.zip", md5=download.md5_of(tmp_path / "Train.zip"))
    monkeypatch.setitem(nmnist.ARCHIVES, "Train", mine)
    assert len(spikevision.NMNIST(tmp_path / "new")) == len(made)


def test_two_processes_that_fetch_one_file_both_get_it(server, tmp_path, monkeypatch):
    """They wrote one part together, and one of them ended with a raw FileNotFoundError."""
    inside, receive = threading.Event(), download.receive

    def slow(url, part, timeout):
        inside.set()
        receive(url, part, timeout)

    monkeypatch.setattr(download, "receive", slow)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(download.fetch(server.archive, tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(1500)
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "file.zip"] * 4 and server.asked == [None]
    assert found[0].read_bytes() == server.content and list(tmp_path.iterdir()) == [
        tmp_path / "file.zip"
    ]


def test_a_file_under_another_name_is_checked_as_well(server, tmp_path):
    (tmp_path / "other.zip").write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"other\.zip must have the MD5 sum .* delete it and get it again"
    ):
        download.find_or_fetch(server.archive, tmp_path, also=("other.zip",))
    (tmp_path / "other.zip").write_bytes(server.content)
    assert (
        download.find_or_fetch(server.archive, tmp_path, also=("other.zip",))
        == tmp_path / "other.zip"
    )


@pytest.mark.parametrize("filtered", [True, False])
def test_nothing_is_unpacked_outside_of_the_folder(filtered, tmp_path, monkeypatch):
    """Also with a Python whose tarfile has no filter."""
    if filtered and not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filter")
    link = tarfile.TarInfo("set/link")
    link.type, link.linkname = tarfile.SYMTYPE, "../../outside"
    for number, (name, member) in enumerate(
        (("../outside", None), ("set/link", link), ("set/a.txt", None))
    ):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w") as archive:
            made = member or tarfile.TarInfo(name)
            made.size = 0 if member else 2
            archive.addfile(made, None if member else io.BytesIO(b"hi"))
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch, tarfile.open(path) as archive:
            if not filtered:
                patch.delattr(tarfile, "data_filter", raising=False)
                patch.setattr(
                    tarfile.TarFile,
                    "extraction_filter",
                    staticmethod(lambda member, _: member),
                    raising=False,
                )
            if number == 2:
                download.unpack(archive, folder)
                assert (folder / "set" / "a.txt").read_text() == "hi"
            else:
                with pytest.raises(ValueError, match=r"tar must hold only files and folders"):
                    download.unpack(archive, folder)
    assert not (tmp_path / "outside").exists()
