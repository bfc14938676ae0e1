"""DVS Gesture: recordings, written here, are cut at their labels, and damaged files are refused."""

import tarfile

import numpy as np
import pytest
import torch
from event_files import GESTURES, aedat_bytes, counted, events_of, write_gestures

from spikeloom import spikevision
from spikeloom.spikevision import download, readers
from spikeloom.spikevision.spikedata import dvs_gesture

pytest.importorskip("h5py")


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
    train, test = (
        spikevision.DVSGesture(tmp_path, train=part, return_meta=True) for part in (True, False)
    )
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
    monkeypatch.setattr(
        dvs_gesture, "ARCHIVE", dvs_gesture.ARCHIVE._replace(md5=download.md5_of(packed))
    )
    assert len(spikevision.DVSGesture(tmp_path)) == 3
    packed.unlink()
    (tmp_path / "dvs_gesture_train.hdf5").unlink()
    assert len(spikevision.DVSGesture(tmp_path)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "DvsGesture",
        "dvs_gesture_train.hdf5",
        "made",
    ]


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    packed = tmp_path / "root" / "DvsGesture.tar.gz"
    packed.parent.mkdir()
    (tmp_path / "x").write_text("x")
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "x", "../../escaped")
    monkeypatch.setattr(
        dvs_gesture, "ARCHIVE", dvs_gesture.ARCHIVE._replace(md5=download.md5_of(packed))
    )
    with pytest.raises(ValueError, match=r"DvsGesture\.tar\.gz must hold only files and folders"):
        spikevision.DVSGesture(tmp_path / "root")
    assert not list(tmp_path.rglob("escaped"))


def test_a_shuffled_start_shows_a_full_window_and_follows_the_generator(tmp_path):
    write_gestures(tmp_path, user=3)
    whole = spikevision.DVSGesture(tmp_path, num_steps=100, dt=1000)[2][0]
    views = [
        spikevision.DVSGesture(
            tmp_path,
            num_steps=50,
            dt=1000,
            time_shuffle=True,
            generator=torch.Generator().manual_seed(seed),
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
    with pytest.raises(ValueError, match=r"classes must be in \[1, 11\], got 12"):
        spikevision.DVSGesture(tmp_path)
    (tmp_path / "user03_fluorescent_led_labels.csv").write_text("class,start,end\n1,0\n")
    with pytest.raises(ValueError, match="lines class,start,end in whole numbers"):
        spikevision.DVSGesture(tmp_path)
