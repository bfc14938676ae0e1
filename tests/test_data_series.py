"""Files of labelled series of unequal length: what they hold, and what is wrong with them."""

from pathlib import Path

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import data

HEAD = "# a comment\n@problemName vowels\n@timeStamps false\n@classLabel true 1 2 9\n@data\n"


def test_series_of_unequal_length_are_read_and_run_as_one_batch(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text(HEAD + "1,2,3:4,5,6:9\n\n0.5,1e-1:-1,-2:1\n")
    series = data.read_ts(path)
    assert series.classes == ("1", "2", "9") and series.labels.tolist() == [2, 0]
    assert series.recordings[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    torch.testing.assert_close(series.recordings[1], torch.tensor([[0.5, -1.0], [0.1, -2.0]]))
    pairs = list(zip(series.recordings, series.labels, strict=True))
    x, y, lengths = data.pad_sequences(pairs, lengths=True)
    net = nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True))
    spk = snn.run(net, x, lengths=lengths)
    assert not spk[2:, 1].any() and y.tolist() == [2, 0]
    torch.testing.assert_close(spk[:2, 1:], snn.run(net, series.recordings[1].unsqueeze(1)))


DAMAGED = {
    "no data": ("@classLabel true a\n", "no line @data"),
    "nothing after it": (HEAD, "no recordings"),
    "no classes": ("@classLabel false\n@data\n1:a\n", "names no classes"),
    "an unknown class": (HEAD + "1,2:3\n", "line 6 has the unknown class '3'"),
    "a missing value": (HEAD + "1,?:1\n", "line 6 has missing values"),
    "a word": (HEAD + "1,2:1\n1,x:1\n", "line 7: could not convert"),
    "unequal channels": (HEAD + "1,2:1,2,3:1\n", "line 6 has channels of different length"),
    "another number of channels": (HEAD + "1,2:1\n1,2:1,2:1\n", r"channels: \[1, 2\]"),
    "time stamps": (HEAD.replace("false", "true") + "1:1\n", "time stamps"),
    "infinity": (HEAD + "1,inf:1\n", "line 6 has values that are not finite"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused_with_its_path_and_line(damage: str, tmp_path: Path) -> None:
    text, message = DAMAGED[damage]
    path = tmp_path / "a.ts"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.ts must be a \.ts file.*{message}"):
        data.read_ts(path)
