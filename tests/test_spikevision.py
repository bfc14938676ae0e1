"""Event data sets: files in the published formats, written here, come back as the right frames."""

import gzip
import hashlib
import http.server
import os
import pickle
import struct
import tarfile
import threading
import zipfile

import numpy as np
import pytest
import torch

from spikeloom import spikevision
from spikeloom.data import EVENT
from spikeloom.spikevision import download, readers, transforms
from spikeloom.spikevision.spikedata import dvs_gesture, nmnist, shd

h5py = pytest.importorskip("h5py")


def events_of(number, size, duration, seed=0):
    """Random events in order of time, the first at a time that is not 0."""
    random = np.random.default_rng(seed)
    events = np.zeros(number, EVENT)
    events["x"], events["y"] = random.integers(0, size[0], number), random.integers(0, size[1], number)
    events["p"], events["t"] = random.integers(0, 2, number), 777 + np.sort(random.integers(0, duration, number))
    return events


def counted(events, num_steps, dt, size, ds=(1, 1)):
    """Frames by a plain loop: [T, 2, H, W], time from the first event, what lies outside left out."""
    frames = torch.zeros(num_steps, 2, size // ds[1], size // ds[0])
    start = events["t"].min()
    for x, y, t, p in events.tolist():
        if (t - start) // dt < num_steps and x < size and y < size:
            frames[(t - start) // dt, p, y // ds[1], x // ds[0]] += 1
    return frames


# Writers of the published formats


def nmnist_bytes(events, wrap_at=None):
    """N-MNIST; with ``wrap_at`` a clock event is put there, and later times lose what it adds."""
    rows, lost = [], 0
    for i, (x, y, t, p) in enumerate(events.tolist()):
        if i == wrap_at:
            rows.append(bytes([0, 240, 0, 0, 0]))
            lost = 1 << 13
        t -= lost
        rows.append(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]))
    return b"".join(rows)


def aedat_bytes(events, packet=50, overflow=0):
    """AEDAT 3.1 as recorded: text header, packets of polarity events, one of another type, one event marked invalid."""
    raw = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-11-10\r\n#!END-HEADER\r\n"
    raw += struct.pack("<HHIIIIII", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8)
    for start in range(0, len(events), packet):
        part = events[start : start + packet]
        body = [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t - (overflow << 31)) for x, y, t, p in part.tolist()]
        body.append(struct.pack("<II", 5 << 17, 0))  # marked invalid
        raw += struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, len(body), len(body), len(part)) + b"".join(body)
    return raw


def shd_file(path, recordings, labels):
    """SHD: times in seconds as float16, units as uint16, both of varying length."""
    with h5py.File(path, "w") as file:
        file["labels"] = np.array(labels, np.uint16)
        for name, kind, values in (("times", np.float16, 0), ("units", np.uint16, 1)):
            data = file.create_dataset(f"spikes/{name}", (len(labels),), h5py.vlen_dtype(kind))
            for i, recording in enumerate(recordings):
                data[i] = recording[values].astype(kind)


def write_nmnist(root, digits=(3, 3, 7), part="Train"):
    made = []
    for i, digit in enumerate(digits):
        folder = root / part / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        events = events_of(300, (34, 34), 300_000, seed=i)
        (folder / f"{i:05d}.bin").write_bytes(nmnist_bytes(events))
        made.append((events, digit))
    return made


GESTURES = ((1, 1000, 40_000), (11, 50_000, 99_000), (8, 200_000, 300_000))


def write_gestures(root, user, light="fluorescent_led", seed=0):
    root.mkdir(parents=True, exist_ok=True)
    events = events_of(900, (128, 128), 300_000, seed)
    (root / f"user{user:02d}_{light}.aedat").write_bytes(aedat_bytes(events))
    rows = "".join(f"{label},{start},{end}\n" for label, start, end in GESTURES)
    (root / f"user{user:02d}_{light}_labels.csv").write_text("class,startTime_usec,endTime_usec\n" + rows)
    return [events[(events["t"] >= start) & (events["t"] < end)] for _, start, end in GESTURES]


# N-MNIST


def test_nmnist_frames_are_the_counts_of_a_plain_loop(tmp_path):
    made = write_nmnist(tmp_path)
    dataset = spikevision.NMNIST(str(tmp_path), num_steps=30, dt=7000)
    assert len(dataset) == 3 and dataset.num_classes == 10
    for (frames, target), (events, digit) in zip((dataset[i] for i in range(3)), made, strict=True):
        assert torch.equal(frames, counted(events, 30, 7000, 32)) and target == digit
        assert frames.dtype == torch.float32 and type(target) is int


def test_nmnist_reads_the_zip_file_like_its_folder(tmp_path):
    made = write_nmnist(tmp_path / "a", part="Test")
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b" / "test.zip", "w") as archive:  # another name is not held to the checksum
        for file in (tmp_path / "a").rglob("*.bin"):
            archive.write(file, file.relative_to(tmp_path / "a"))
    folder, packed = (spikevision.NMNIST(tmp_path / name, train=False, num_steps=9) for name in "ab")
    assert len(folder) == len(packed) == len(made)
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(folder, packed, strict=False))


def test_nmnist_clock_events_move_time_and_are_no_spikes():
    events = events_of(50, (34, 34), 60_000)
    events["t"][20:] += 1 << 13
    assert np.array_equal(readers.read_nmnist(nmnist_bytes(events, wrap_at=20)), events)
    with pytest.raises(ValueError, match=r"5 bytes for each event, got 7 bytes in x.bin"):
        readers.read_nmnist(bytes(7), "x.bin")


def test_nmnist_keeps_all_recordings_unless_asked_to_balance(tmp_path):
    write_nmnist(tmp_path, digits=(3, 3, 3, 7, 7))
    assert len(spikevision.NMNIST(tmp_path)) == 5
    assert [y for _, y in spikevision.NMNIST(tmp_path, balanced=True)] == [3, 3, 7, 7]


def test_target_transform_is_applied_not_replaced(tmp_path):
    write_nmnist(tmp_path)
    assert spikevision.NMNIST(tmp_path, target_transform=lambda digit: digit + 100)[0][1] == 103
    steps = transforms.Compose([transforms.Repeat(4), transforms.toOneHot(10)])
    target = spikevision.NMNIST(tmp_path, target_transform=steps)[0][1]
    assert target.shape == (4, 10) and target.argmax(1).tolist() == [3] * 4


def test_a_transform_of_ones_own_gets_time_polarity_x_y(tmp_path):
    write_nmnist(tmp_path)
    own = transforms.Compose(
        [
            transforms.CropDims([0, 0], [32, 32], dims=[2, 3]),
            transforms.Downsample([7000, 1, 1, 1]),
            transforms.ToCountFrame(30, [2, 32, 32]),
            transforms.ToTensor(),
            transforms.dvs_permute(),
        ]
    )
    options = {"num_steps": 30, "dt": 7000}
    plain, same = spikevision.NMNIST(tmp_path, **options), spikevision.NMNIST(tmp_path, transform=own, **options)
    assert all(torch.equal(plain[i][0], same[i][0]) for i in range(3))


def test_count_frames_refuse_addresses_outside():
    with pytest.raises(ValueError, match=r"inside size=\[2, 3\], got up to \[1, 3\]"):
        transforms.ToCountFrame(2, [2, 3])(np.array([[0, 1, 3]]))


# The cache


def test_the_cache_alone_is_enough_afterwards(tmp_path):
    made = write_nmnist(tmp_path)
    spikevision.NMNIST(tmp_path)
    for file in tmp_path.rglob("*.bin"):
        file.unlink()
    dataset = spikevision.NMNIST(tmp_path, download_and_create=False, num_steps=5, dt=5000)
    assert torch.equal(dataset[0][0], counted(made[0][0], 5, 5000, 32))
    assert "3 training recordings" in repr(dataset)


def test_a_data_set_travels_to_other_processes(tmp_path, monkeypatch):
    write_nmnist(tmp_path)
    dataset = spikevision.NMNIST(tmp_path)
    first = dataset[0][0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], first)
    mine = dataset.store._file()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert dataset.store._file() is not mine, "a forked process must not share the file position"
    assert torch.equal(dataset[0][0], first)


def test_without_cache_and_permission_nothing_is_made(tmp_path):
    write_nmnist(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"n_mnist_train\.hdf5, which is absent; write download_and_create=True"
    ):
        spikevision.NMNIST(tmp_path, download_and_create=False)


def test_an_interrupted_cache_leaves_nothing_behind(tmp_path):
    write_nmnist(tmp_path)
    (tmp_path / "Train" / "7" / "00002.bin").write_bytes(b"1234567")
    with pytest.raises(ValueError, match=r"7 bytes in .*00002\.bin"):
        spikevision.NMNIST(tmp_path)
    assert not list(tmp_path.glob("*.hdf5*"))


def test_a_foreign_or_damaged_cache_is_refused(tmp_path):
    cache = tmp_path / "n_mnist_train.hdf5"
    cache.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"damaged file .* delete it"):
        spikevision.NMNIST(tmp_path)
    with h5py.File(cache, "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="got another file; move or delete it"):
        spikevision.NMNIST(tmp_path)


# DVS Gesture


@pytest.mark.parametrize("ds", [None, 4, (2, 8)])
def test_gestures_are_cut_at_their_labels(tmp_path, ds):
    made = write_gestures(tmp_path / "DvsGesture", user=3)
    dataset = spikevision.DVSGesture(tmp_path, num_steps=20, dt=3000, ds=ds, return_meta=True)
    pair = (1, 1) if ds is None else (ds, ds) if isinstance(ds, int) else ds
    assert len(dataset) == 3
    for (frames, target, light, user), events, (label, _, _) in zip(
        (dataset[i] for i in range(3)), made, GESTURES, strict=True
    ):
        assert torch.equal(frames, counted(events, 20, 3000, 128, pair))
        assert (target, light, user) == (label - 1, "fluorescent_led", "user03")


def test_gestures_of_users_from_24_are_the_test_part(tmp_path):
    for user in (1, 23, 24, 29):
        write_gestures(tmp_path / "DvsGesture", user)
    train, test = (spikevision.DVSGesture(tmp_path, train=part, return_meta=True) for part in (True, False))
    assert {item[3] for item in (train[i] for i in range(6))} == {"user01", "user23"}
    assert {item[3] for item in (test[i] for i in range(6))} == {"user24", "user29"}
    assert (train.num_steps, test.num_steps) == (500, 1800)


def test_gestures_are_unpacked_from_their_archive_once(tmp_path, monkeypatch):
    write_gestures(tmp_path / "made" / "DvsGesture", user=3)
    packed = tmp_path / "DvsGesture.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "made" / "DvsGesture", "DvsGesture")
    with pytest.raises(ValueError, match="must have the MD5 sum 8a5c71fb"):
        spikevision.DVSGesture(tmp_path)
    monkeypatch.setattr(dvs_gesture, "ARCHIVE", dvs_gesture.ARCHIVE._replace(md5=download.md5_of(packed)))
    assert len(spikevision.DVSGesture(tmp_path)) == 3
    packed.unlink()
    (tmp_path / "dvs_gesture_train.hdf5").unlink()
    assert len(spikevision.DVSGesture(tmp_path)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DvsGesture", "dvs_gesture_train.hdf5", "made"]


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    packed = tmp_path / "root" / "DvsGesture.tar.gz"
    packed.parent.mkdir()
    (tmp_path / "x").write_text("x")
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "x", "../../escaped")
    monkeypatch.setattr(dvs_gesture, "ARCHIVE", dvs_gesture.ARCHIVE._replace(md5=download.md5_of(packed)))
    with pytest.raises(tarfile.OutsideDestinationError):
        spikevision.DVSGesture(tmp_path / "root")
    assert not list(tmp_path.rglob("escaped"))


def test_a_shuffled_start_shows_a_full_window_and_follows_the_generator(tmp_path):
    write_gestures(tmp_path, user=3)
    whole = spikevision.DVSGesture(tmp_path, num_steps=100, dt=1000)[2][0]
    views = [
        spikevision.DVSGesture(
            tmp_path, num_steps=50, dt=1000, time_shuffle=True, generator=torch.Generator().manual_seed(seed)
        )[2][0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].sum() > 0.3 * whole.sum() and views[0][40:].sum() > 0


def test_aedat_times_count_on_after_an_overflow(tmp_path):
    events = events_of(70, (128, 128), 10_000)
    events["t"] += 1 << 31
    (tmp_path / "a.aedat").write_bytes(aedat_bytes(events, overflow=1))
    assert np.array_equal(readers.read_aedat(tmp_path / "a.aedat"), events)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda raw: b"#!AER-DAT2.0\r\n" + raw, "must begin with #!AER-DAT3"),
        (lambda raw: raw[:-3], "one that is cut at"),
        (lambda raw: raw + b"abc", "got 3 bytes at its end"),
    ],
)
def test_a_damaged_aedat_file_is_refused(tmp_path, change, text):
    (tmp_path / "a.aedat").write_bytes(change(aedat_bytes(events_of(70, (128, 128), 10_000))))
    with pytest.raises(ValueError, match=text):
        readers.read_aedat(tmp_path / "a.aedat")


def test_bad_gesture_labels_are_refused(tmp_path):
    write_gestures(tmp_path, user=3)
    (tmp_path / "user03_fluorescent_led_labels.csv").write_text("class,start,end\n12,0,100\n")
    with pytest.raises(ValueError, match=r"classes must lie in \[1, 11\], got 12"):
        spikevision.DVSGesture(tmp_path)
    (tmp_path / "user03_fluorescent_led_labels.csv").write_text("class,start,end\n1,0\n")
    with pytest.raises(ValueError, match="lines class,start,end in whole numbers"):
        spikevision.DVSGesture(tmp_path)


# SHD


def write_shd(path, labels=(0, 13)):
    random = np.random.default_rng(0)
    recordings = [(np.sort(random.random(200)).astype(np.float16), random.integers(0, 700, 200)) for _ in labels]
    shd_file(path, recordings, labels)
    return recordings


@pytest.mark.parametrize("ds", [1, 5])
def test_shd_counts_spikes_of_units_in_reversed_order(tmp_path, ds):
    recordings = write_shd(tmp_path / "shd_train.h5")
    dataset = spikevision.SHD(tmp_path, num_steps=100, ds=ds, dt=4000)
    for (frames, target), (times, units), label in zip(
        (dataset[i] for i in range(2)), recordings, (0, 13), strict=True
    ):
        expected = torch.zeros(100, 700 // ds)
        micro = (times.astype(np.float64) * 1e6).astype(np.int64)
        for step, unit in zip((micro - micro.min()) // 4000, units, strict=True):
            if step < 100:
                expected[step, 700 // ds - 1 - unit // ds] += 1
        assert torch.equal(frames, expected) and target == label
    assert dataset.classes[13] == "german 3"


def test_shd_covers_num_steps_times_dt_and_not_milliseconds(tmp_path):
    """With dt=2000 and 500 steps the whole second is read; a spike at 0.9 s lies in step 450."""
    shd_file(tmp_path / "shd_test.h5", [(np.array([0.0, 0.9]), np.array([0, 5]))], [4])
    frames, _ = spikevision.SHD(tmp_path, train=False, num_steps=500, dt=2000)[0]
    assert frames.nonzero().tolist() in ([[0, 699], [450, 694]], [[0, 699], [449, 694]])


@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_shd_is_read_from_packed_files(tmp_path, packing, monkeypatch):
    write_shd(tmp_path / "plain.h5")
    raw, target = (tmp_path / "plain.h5").read_bytes(), tmp_path / f"shd_train.h5.{packing}"
    if packing == "gz":
        target.write_bytes(gzip.compress(raw))
    else:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("shd_train.h5", raw)
        mine = shd.ARCHIVES["train"]._replace(md5=download.md5_of(target))
        monkeypatch.setitem(shd.ARCHIVES, "train", mine)
    assert len(spikevision.SHD(tmp_path)) == 2


def test_factors_that_do_not_divide_the_sensor_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ds must be a divisor of 700, got 3"):
        spikevision.SHD(tmp_path, ds=3)
    with pytest.raises(ValueError, match="ds must be a divisor of 128, or a pair of them, got 3"):
        spikevision.DVSGesture(tmp_path, ds=3)
    with pytest.raises(ValueError, match="num_steps must be 1 or more and dt positive"):
        spikevision.NMNIST(tmp_path, num_steps=0)


def test_module_paths_are_snntorchs():
    from spikeloom.spikevision import spikedata

    assert spikedata.NMNIST is spikevision.data.NMNIST is nmnist.NMNIST


def test_event_data_sets_need_an_extra(tmp_path, monkeypatch):
    write_nmnist(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r'needs h5py, .* pip install "spikeloom\[data\]"'):
        spikevision.NMNIST(tmp_path)


# Downloads, from a server on this machine


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
            "file.zip", f"http://127.0.0.1:{running.server_port}/x", hashlib.md5(content).hexdigest(), "https://page"
        )
        yield handler
        running.shutdown()
        thread.join()


def test_a_download_is_whole_or_absent(server, tmp_path):
    path = download.fetch(server.archive, tmp_path / "new")
    assert path.read_bytes() == server.content and [p.name for p in (tmp_path / "new").iterdir()] == ["file.zip"]
    assert download.find_or_fetch(server.archive, tmp_path / "new") == path and len(server.asked) == 1


def test_an_interrupted_download_goes_on_where_it_ended(server, tmp_path):
    server.limit = 2000
    for kept in (2000, 4000):
        with pytest.raises(ConnectionError, match=rf"broke off .*{kept} bytes are kept and the next attempt goes on"):
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
    with pytest.raises(ValueError, match=r"file\.zip must have the MD5 sum .* delete it and get it again"):
        download.find_or_fetch(server.archive, tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == b"mine"


def test_without_a_connection_the_error_says_where_to_get_and_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    offline = nmnist.ARCHIVES["Train"]._replace(url="http://127.0.0.1:9/x")
    monkeypatch.setitem(nmnist.ARCHIVES, "Train", offline)
    with pytest.raises(
        ConnectionError,
        match=r"Train\.zip must be in .* which failed .*; without a connection, get it from https://www",
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
