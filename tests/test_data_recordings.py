"""Folders of recordings: spoken words, heart beats and gestures in their published formats."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from recording_files import annotation_bytes, packed_212, write_record, write_wav
from torch import nn
from torch.utils.data import DataLoader

import spikeloom as snn
from spikeloom import data, spikevision


def digits(root: Path) -> None:
    """Two speakers, two digits, indices on both sides of the published division."""
    for number, (digit, speaker, index) in enumerate(
        [(3, "ann", 0), (3, "ann", 5), (8, "bob", 4), (8, "bob", 49), (3, "bob", 11)]
    ):
        write_wav(root / f"{digit}_{speaker}_{index}.wav", np.arange(400 + 40 * number))


def test_digits_have_the_published_division_and_can_leave_out_a_speaker(tmp_path: Path) -> None:
    digits(tmp_path)
    series = data.wav_folder(tmp_path)
    test, train = series.part("test"), series.part("train")
    assert [path.name for path in test.items] == ["3_ann_0.wav", "8_bob_4.wav"]
    assert len(train) == 3 and series.classes == ("3", "8") and series.rate == 8000
    rest, bob = series.leave_out("bob")
    assert set(rest.groups) == {"ann"} and bob.labels.tolist() == [0, 1, 1]
    known, unknown = data.disjoint(series.groups, 1)
    assert not set(series.take(known).groups) & set(series.take(unknown).groups)
    with pytest.raises(ValueError, match="group must be one of 'ann', 'bob', got 'eve'"):
        series.leave_out("eve")
    with pytest.raises(ValueError, match="must be one of 'test', 'train', got 'validation'"):
        series.part("validation")


def test_recordings_of_unequal_length_run_as_one_padded_batch(tmp_path: Path) -> None:
    digits(tmp_path)
    bands = partial(data.mel, bands=6, floor=1e-3)
    series = data.wav_folder(tmp_path, transform=bands)
    loader = DataLoader(series, batch_size=5, collate_fn=partial(data.pad_sequences, lengths=True))
    (x, y, lengths) = next(iter(loader))
    assert lengths.tolist() == [len(r) for r in series.recordings]
    assert len(set(lengths.tolist())) > 1
    assert y.tolist() == series.labels.tolist()
    net = nn.Sequential(nn.Linear(6, 4), snn.Leaky(0.9, init_hidden=True))
    spk = snn.run(net, x, lengths=lengths)
    for b, (recording, _) in enumerate(series):
        alone = snn.run(net, recording.unsqueeze(1))
        assert torch.equal(spk[: lengths[b], b], alone[:, 0])


def test_a_cache_of_spectra_reads_no_wav_file_again(tmp_path: Path) -> None:
    digits(tmp_path / "wav")
    series = data.wav_folder(tmp_path / "wav", transform=partial(data.mel, bands=6))
    expected = series.recordings
    cached = data.DiskCache(series, tmp_path / "cache", key="mel 6")
    assert [len(cached[i][0]) for i in range(len(series))] == [len(x) for x in expected]
    for path in series.items:
        path.unlink()
    for i, recording in enumerate(expected):
        assert torch.equal(cached[i][0], recording) and cached[i][1] == series.labels[i]


def commands(root: Path) -> None:
    for name in ("yes/a1_nohash_0", "yes/b2_nohash_1", "no/c3_nohash_0", "no/a1_nohash_3"):
        write_wav(root / f"{name}.wav", np.arange(300), rate=16000)
    write_wav(root / "_background_noise_" / "wind.wav", np.arange(900), rate=16000)
    (root / "testing_list.txt").write_text("yes/b2_nohash_1.wav\n")
    (root / "validation_list.txt").write_text("no/c3_nohash_0.wav\n")


def test_speech_commands_are_divided_by_the_published_lists(tmp_path: Path) -> None:
    commands(tmp_path)
    series = data.wav_folder(tmp_path, names="commands")
    assert series.parts == ("train", "validation", "train", "test")
    assert series.groups == ("a1", "c3", "a1", "b2") and series.classes == ("no", "yes")


def test_lists_with_a_speaker_in_two_parts_or_a_missing_file_are_refused(tmp_path: Path) -> None:
    commands(tmp_path)
    testing = tmp_path / "testing_list.txt"
    testing.write_text("yes/a1_nohash_0.wav\n")
    with pytest.raises(ValueError, match=r"each speaker .* must be in one part, got a1 in"):
        data.wav_folder(tmp_path, names="commands")
    testing.write_text("yes/d4_nohash_0.wav\n")
    with pytest.raises(ValueError, match=r"testing_list.txt .* got yes/d4_nohash_0.wav, which is"):
        data.wav_folder(tmp_path, names="commands")
    testing.write_text("no/c3_nohash_0.wav\n")
    with pytest.raises(ValueError, match=r"validation_list.txt .* is in both lists"):
        data.wav_folder(tmp_path, names="commands")
    testing.unlink()
    with pytest.raises(FileNotFoundError, match=r"published list .*testing_list.txt"):
        data.wav_folder(tmp_path, names="commands")


def test_a_function_gives_word_speaker_and_part_of_any_name(tmp_path: Path) -> None:
    for name in ("ann/take 1 up", "bob/take 1 down"):
        write_wav(tmp_path / f"{name}.wav", np.arange(10))

    def names(path):
        return (
            path.stem.split()[-1],
            path.parent.name,
            "test" if path.parts[0] == "bob" else "train",
        )

    series = data.wav_folder(tmp_path, names=names, source=data.Source("mine", "mine", "I", "here"))
    assert series.parts == ("train", "test") and series.groups == ("ann", "bob")
    assert series.classes == ("down", "up") and repr(series).startswith("Series(mine: 2 rec")
    with pytest.raises(TypeError, match=r"names must return \(word, speaker\).* got 'up'"):
        data.wav_folder(tmp_path, names=lambda path: "up")


def test_wav_folders_that_are_wrong_are_refused_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*absent"):
        data.wav_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="must hold wav files, got none"):
        data.wav_folder(tmp_path)
    digits(tmp_path)
    write_wav(tmp_path / "8_eve_0.wav", np.arange(400), rate=16000)
    series = data.wav_folder(tmp_path)
    with pytest.raises(ValueError, match=r"8_eve_0.wav must have the rate .* 8000 Hz, got 16000"):
        series[series.groups.index("eve")]
    (tmp_path / "8_eve_0.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"8_eve_0.wav must be a PCM wav file"):
        series[series.groups.index("eve")]
    write_wav(tmp_path / "noise.wav", np.arange(400))
    with pytest.raises(ValueError, match=r"noise.wav must have a name like 3_jackson_12.wav"):
        data.wav_folder(tmp_path)


# heart beats


def record_values(length: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-2047, 2048, (length, channels))


def test_twelve_bits_are_packed_as_the_guide_to_the_format_defines() -> None:
    assert packed_212([0x123, -1]) == bytes([0x23, 0xF1, 0xFF])


@pytest.mark.parametrize("form", ["16", "212"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_record_is_read_in_physical_units(form: str, channels: int, tmp_path: Path) -> None:
    values = record_values(15, channels)
    write_record(tmp_path, "7", values, [(3, "N"), (9, "V")], form=form)
    record = data.read_wfdb(tmp_path / "7")
    torch.testing.assert_close(record.signal, torch.from_numpy((values - 1) / 200).float())
    assert record.rate == 10 and record.channels == tuple(f"lead {i}" for i in range(channels))
    assert record.positions.tolist() == [3, 9] and record.symbols == ("N", "V")


def test_a_gain_without_baseline_uses_the_zero_of_the_converter_and_0_is_200(
    tmp_path: Path,
) -> None:
    values = np.array([[1024], [1224]])
    for gain in ("200", "0", "200/mV"):
        write_record(tmp_path, "7", values, gain=gain)
        assert data.read_wfdb(tmp_path / "7.hea").signal.flatten().tolist() == [0, 1]


@pytest.mark.parametrize(("form", "missing"), [("16", -32768), ("212", -2048)])
def test_missing_samples_are_nan(form: str, missing: int, tmp_path: Path) -> None:
    write_record(tmp_path, "7", np.array([[1], [missing], [201]]), form=form)
    signal = data.read_wfdb(tmp_path / "7").signal.flatten()
    assert signal[0] == 0 and signal[1].isnan() and signal[2] == 1


def test_annotations_far_apart_and_with_texts_are_read(tmp_path: Path) -> None:
    beats = [(5, "N"), (1028, "A"), (80_000, "V"), (80_001, "+"), (199_999, "F")]
    write_record(tmp_path, "7", np.zeros((200_000, 1), int), beats, form="16")
    for note in ("", "(N", "(AB"):
        extra = (60 << 10 | 3).to_bytes(2, "little")  # NUM, which sets a field that is not read
        (tmp_path / "7.atr").write_bytes(extra + annotation_bytes(beats, note))
        record = data.read_wfdb(tmp_path / "7")
        found = list(zip(record.positions.tolist(), record.symbols, strict=True))
        assert found == beats


def test_every_changed_byte_of_the_signals_is_found_by_their_checksum(tmp_path: Path) -> None:
    write_record(tmp_path, "7", record_values(8, 2))
    whole = (tmp_path / "7.dat").read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (tmp_path / "7.dat").write_bytes(changed)
        with pytest.raises(ValueError, match=r"7\.dat must be the signals of 7\.hea.*checksum"):
            data.read_wfdb(tmp_path / "7")
    for end in range(len(whole)):
        (tmp_path / "7.dat").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=rf"7\.dat .*{end} of {len(whole)} bytes"):
            data.read_wfdb(tmp_path / "7")


def test_every_cut_of_the_annotations_is_refused_with_the_path(tmp_path: Path) -> None:
    write_record(tmp_path, "7", record_values(5000, 1), [(2, "N"), (4000, "V"), (4500, "N")])
    whole = (tmp_path / "7.atr").read_bytes()
    for end in range(len(whole) - 1):
        (tmp_path / "7.atr").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"7\.atr must be a WFDB annotation file"):
            data.read_wfdb(tmp_path / "7")
    for raw, message in (
        (bytes([0, 15 << 2, 0, 0]), "unknown code 15"),
        (bytes([0, 50 << 2, 0, 0]), "unknown code 50"),
        (annotation_bytes([(5000, "N")]), "at sample 5000 of 5000"),
    ):
        (tmp_path / "7.atr").write_bytes(raw)
        with pytest.raises(ValueError, match=message):
            data.read_wfdb(tmp_path / "7")


HEADERS = {
    "": "no record line",
    "7 1 10": "no record line",
    "7/3 1 10 8": "several segments",
    "7 0 10 8": "0 channels",
    "7 1 10 0\n7.dat 16": "channels of 0 samples",
    "7 1 0 8\n7.dat 16": "at 0 Hz",
    "7 2 10 8\n7.dat 16": "1 lines of 2 channels",
    "7 1 10 8\n7.dat 80": "format 80 of the signals is not read",
    "7 1 10 8\n../7.dat 16": "not in the folder",
    "7 1 10 8\n7.dat 16 (3)": "has no gain",
    "7 1 10 x\n7.dat 16": "invalid literal",
}


@pytest.mark.parametrize("text", HEADERS)
def test_a_header_that_is_wrong_is_refused_with_the_path(text: str, tmp_path: Path) -> None:
    (tmp_path / "7.dat").write_bytes(bytes(16))
    (tmp_path / "7.hea").write_text(text)
    with pytest.raises(ValueError, match=rf"7\.hea must be a WFDB header.*{HEADERS[text]}"):
        data.read_wfdb(tmp_path / "7")


def test_every_changed_byte_of_a_header_is_refused_or_read_as_a_number(tmp_path: Path) -> None:
    write_record(tmp_path, "7", record_values(8, 2))
    whole = (tmp_path / "7.hea").read_bytes()
    for place in range(whole.index(b"\n") + 1, len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (tmp_path / "7.hea").write_bytes(changed)
        try:
            data.read_wfdb(tmp_path / "7")
        except ValueError as error:
            assert "7." in str(error)
        except FileNotFoundError as error:  # the name of the signal file was changed
            assert str(tmp_path) in str(error)


def test_beats_are_centred_on_their_peak_and_carry_class_patient_and_part(tmp_path: Path) -> None:
    values = np.zeros((100, 2), int)
    values[[4, 30, 50, 70, 96], 1] = 2001  # 10 mV at each annotation
    beats = [(4, "N"), (30, "N"), (40, "+"), (50, "V"), (70, "A"), (96, "F")]
    write_record(tmp_path, "101", values, beats)
    write_record(tmp_path, "100", values, [(50, "/")])
    write_record(tmp_path, "102", values, [(50, "/")])
    series = data.heart_beats(tmp_path, channel=1)
    assert series.groups == ("100", "101", "101", "101", "102")
    assert series.parts == ("test", "train", "train", "train", "none")
    assert [series.classes[i] for i in series.labels] == ["Q", "N", "V", "S", "Q"]
    for beat in series.recordings:
        assert beat.shape == (10, 1) and beat.argmax() == 5 and beat[5, 0] == 10
    assert not set(series.part("train").groups) & set(series.part("test").groups)


def test_beats_with_missing_samples_are_left_out(tmp_path: Path) -> None:
    values = np.zeros((60, 1), int)
    values[22] = -2048
    write_record(tmp_path, "101", values, [(20, "N"), (40, "V")])
    assert data.heart_beats(tmp_path).labels.tolist() == [2]


def test_records_without_annotations_or_of_another_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold WFDB headers"):
        data.heart_beats(tmp_path)
    values = np.zeros((60, 1), int)
    write_record(tmp_path, "101", values, [(20, "N")])
    with pytest.raises(ValueError, match=r"channel must be below 1, .*101.hea, got 1"):
        data.heart_beats(tmp_path, channel=1)
    write_record(tmp_path, "102", values, [(20, "N")], rate=20)
    with pytest.raises(ValueError, match=r"102.hea must have the rate .* 10 Hz, got 20"):
        data.heart_beats(tmp_path)
    write_record(tmp_path, "102", values)
    (tmp_path / "102.atr").unlink()
    with pytest.raises(ValueError, match=r"102.hea must have annotations in 102.atr"):
        data.heart_beats(tmp_path)


# gestures


def take(spans: list[tuple[int, int]]) -> str:
    """Lines of a take: each span has a number of samples and a gesture."""
    lines = [f"1,-2,3,-4,5,-6,7,-128,{gesture}" for number, gesture in spans for _ in range(number)]
    return "\n".join(lines)


def test_gestures_are_spans_of_persons_and_the_third_session_tests(tmp_path: Path) -> None:
    for session in ("100-1", "100-3", "200-2"):
        (tmp_path / session).mkdir()
        (tmp_path / session / "6.txt").write_text(take([(4, 0), (5, 6), (3, 0)]))
    (tmp_path / "100-1" / "0.txt").write_text(take([(9, 0)]))
    (tmp_path / "readme.txt").write_text("nothing")
    series = data.myo_gestures(tmp_path)
    assert [len(x) for x in series.recordings] == [9, 4, 5, 3, 4, 5, 3, 4, 5, 3]
    assert series.labels.tolist() == [0, 0, 6, 0, 0, 6, 0, 0, 6, 0]
    assert series.groups == ("100",) * 7 + ("200",) * 3 and series.rate == 200
    assert len(series.part("test")) == 3
    expected = torch.tensor([1, -2, 3, -4, 5, -6, 7, -128]) / 128
    assert all(torch.equal(x, expected.expand(len(x), 8)) for x in series.recordings)


TAKES = {
    "": "no lines",
    "1,2,3": "have 3 numbers instead of 9",
    take([(2, 0)]) + "\n1,2": "line 2|columns changed|row 3",
    "1,2,3,4,5,6,7,128,0": "line 1.*out of range",
    "1,2,3,4,5,6,7,8,9": "line 1.*out of range",
    "1,2,3,4,5,6,7,x,0": "could not convert string 'x'",
}


@pytest.mark.parametrize("text", TAKES)
def test_a_damaged_take_is_refused_with_its_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "1.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"1\.txt must be a take .*({TAKES[text]})"):
        data.read_myo(path)


def test_a_take_of_another_gesture_than_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold takes such as"):
        data.myo_gestures(tmp_path)
    (tmp_path / "100-1").mkdir()
    (tmp_path / "100-1" / "6.txt").write_text(take([(4, 0), (5, 3)]))
    with pytest.raises(ValueError, match=r"6.txt must contain the gestures 0 and 6, got \[3\]"):
        data.myo_gestures(tmp_path)


# all of them


def test_licence_and_citation_can_be_printed(tmp_path: Path) -> None:
    digits(tmp_path / "wav")
    write_record(tmp_path / "ecg", "101", np.zeros((60, 1), int), [(20, "N")])
    (tmp_path / "1-1").mkdir()
    (tmp_path / "1-1" / "6.txt").write_text(take([(4, 0)]))
    series = [
        data.wav_folder(tmp_path / "wav"),
        data.heart_beats(tmp_path / "ecg"),
        data.myo_gestures(tmp_path),
    ]
    sources = [each.source for each in series] + [
        dataset.source for dataset in (spikevision.NMNIST, spikevision.SHD, spikevision.DVSGesture)
    ]
    for source in sources:
        assert source is not None and all(source)
        assert f"Licence: {source.licence}\nCitation: {source.citation}" in str(source)


def test_labels_and_groups_that_do_not_match_the_recordings_are_refused() -> None:
    x = [torch.zeros(2, 1)] * 2
    with pytest.raises(ValueError, match="one value for each of 2 recordings"):
        data.Series(x, torch.tensor([0]), ("a",))
    with pytest.raises(ValueError, match="one value for each of 2 recordings"):
        data.Series(x, torch.tensor([0, 0]), ("a",), groups=("ann",))
    with pytest.raises(ValueError, match=r"labels must be in \[0, 0\]"):
        data.Series(x, torch.tensor([0, 1]), ("a",))
    with pytest.raises(IndexError):
        data.Series(x, torch.tensor([0, 0]), ("a",)).take([2])


READERS = {
    "read_wfdb": (data.read_wfdb, "a WFDB record"),
    "read_myo": (data.read_myo, "a take of the Myo armband"),
    "read_ts": (data.read_ts, "a .ts file"),
    "read_wav": (data.read_wav, "a PCM wav file"),
    "read_idx": (data.read_idx, "an IDX file"),
    "cifar10_jpeg": (data.cifar10_jpeg, "the npz file"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_was_named_without_what_it_must_be(name: str, tmp_path: Path) -> None:
    read, rule = READERS[name]
    with pytest.raises(FileNotFoundError, match=rf"path must be {rule}.*there is no .*absent.*; "):
        read(tmp_path / "absent")
    with pytest.raises(TypeError, match="path must be a path, got None"):
        read(None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="path must be a path, got an empty text"):
        read("")
    if name not in ("read_wfdb", "cifar10_jpeg"):  # these take names of other files
        with pytest.raises(ValueError, match="got the folder"):
            read(tmp_path)


def test_a_missing_signal_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.hea").write_text("1 1 360 2\n1.dat 16 200 12 0 0 0 0 MLII\n")
    with pytest.raises(FileNotFoundError, match=r"the signals of 1\.hea must be.*1\.dat"):
        data.read_wfdb(tmp_path / "1")
