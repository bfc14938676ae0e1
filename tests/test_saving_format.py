"""The files of saved networks: the bytes of the format, and every damage refused by name."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.saving import safetensors


def test_a_file_of_the_package_safetensors_is_read() -> None:
    package = pytest.importorskip("safetensors.torch")
    tensors = {
        "a": torch.rand(2, 3),
        "b": torch.arange(4).bfloat16(),
        "c": torch.tensor(True),
        "d": torch.zeros(0, 2),
    }
    for path in map(Path, ("theirs.safetensors", "ours.safetensors")):
        if path.stem == "theirs":
            package.save_file(tensors, path, {"note": "x"})
        else:
            safetensors.write(path, tensors, {"note": "x"})
        read, texts = safetensors.read(path)
        again = package.load_file(path)
        path.unlink()
        assert texts == {"note": "x"} and read.keys() == again.keys() == tensors.keys()
        assert all(torch.equal(read[n], t) and torch.equal(again[n], t) for n, t in tensors.items())


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """As the format's description has them; no checksum, which other programs do not write."""
    header = {"w": {"dtype": "F16", "shape": [1, 2], "data_offsets": [2, 6]}}
    header |= {"v": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes([7, 8, 0x00, 0x3C, 0x00, 0xC0]))
    tensors, texts = safetensors.read(path)
    assert (
        tensors["w"].tolist() == [[1.0, -2.0]]
        and tensors["w"].dtype == torch.float16
        and texts == {}
    )
    assert tensors["v"].tolist() == [7, 8]


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ends before its header"),
    "text": (b"not a file at all", "ends before its header"),
    "long header": (b"\xff" * 8 + b"{}", "ends before its header"),
    "no JSON": (file_of(b"{{"), "header is not JSON"),
    "no UTF-8": (file_of(b"\xff\xfe"), "header is not JSON"),
    "deep": (file_of(b"[" * 100_000), "header is not JSON"),
    "list": (file_of([1]), "not a JSON object"),
    "twice": (file_of(b'{"a": 1, "a": 2}'), "a name is twice"),
    "texts": (file_of({"__metadata__": {"a": 1}}), "metadata are not strings"),
    "dtype": (file_of(entry(dtype="F31"), bytes(4)), "unknown dtype 'F31'"),
    "keys": (file_of({"w": {"dtype": "F32"}}), "must have dtype, shape and data_offsets"),
    "negative": (file_of(entry(shape=[-1]), bytes(4)), "whole numbers"),
    "float": (file_of(entry(shape=[1.0]), bytes(4)), "whole numbers"),
    "truth": (file_of(entry(shape=[True]), bytes(4)), "whole numbers"),
    "three offsets": (file_of(entry(data_offsets=[0, 2, 4]), bytes(4)), "two offsets in order"),
    "backwards": (file_of(entry(data_offsets=[4, 0]), bytes(4)), "two offsets in order"),
    "huge": (file_of(entry(shape=[10**12]), bytes(4)), "needs 4000000000000 bytes"),
    "beyond": (file_of(entry(data_offsets=[4, 8]), bytes(4)), "needs 4 bytes"),
    "left over": (file_of(entry(), bytes(5)), "do not cover all bytes"),
    "overlap": (file_of({**entry(), "v": entry()["w"]}, bytes(4)), "overlap"),
    "gap": (file_of(entry(data_offsets=[2, 6]), bytes(6)), "do not cover all bytes"),
    "bool": (file_of(entry(dtype="BOOL", data_offsets=[0, 1]), b"\x02"), "neither 0 nor 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_path_and_reason(name: str, tmp_path: Path) -> None:
    raw, text = BROKEN[name]
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=text) as error:
        snn.load(path)
    assert str(path) in str(error.value)


def test_a_flipped_byte_or_a_cut_of_a_saved_network_is_noticed(tmp_path: Path) -> None:
    path = snn.save(nn.Sequential(nn.Linear(2, 1), snn.Leaky(0.9)), tmp_path / "net.safetensors")
    whole, chosen = path.read_bytes(), random.Random(0)
    for place in chosen.sample(range(len(whole)), 300):
        bit = 1 << chosen.randrange(8)
        for damaged in (
            whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :],
            whole[:place],
        ):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"net\.safetensors must (be|hold|have)"):
                snn.load(path)


def test_an_architecture_is_data_and_not_code(tmp_path: Path) -> None:
    """Kinds come from a table, arguments are plain values, nesting is bounded."""
    linear = {"kind": "torch.nn.Linear", "options": {"in_features": 1, "out_features": 1}}
    deep: Any = linear
    for _ in range(100):
        deep = {"kind": "torch.nn.Sequential", "children": {"0": deep}}
    path = tmp_path / "a.safetensors"
    for architecture, text in (
        ({"kind": "os.system", "options": {"command": "true"}}, "unknown layer 'os.system'"),
        ({"kind": "torch.nn.Module", "options": {}}, "unknown layer"),
        (
            {**linear, "options": {"in_features": {"kind": "eval", "options": {}}}},
            "is not a value of an architecture",
        ),
        ({**linear, "options": {"in_features": -1, "out_features": 1}}, "cannot be built"),
        (
            {**linear, "options": {"device": "nowhere", "in_features": 1, "out_features": 1}},
            "cannot be built",
        ),
        (deep, "nested too deeply"),
        ({}, "unknown layer None"),
    ):
        described = {"format": 1, "architecture": architecture, "frozen": [], "training": True}
        safetensors.write(path, {}, {"spikeloom.network": json.dumps(described)})
        with pytest.raises(ValueError, match=text):
            snn.load(path)
    for text in (
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 9, "architecture": {}, "frozen": [], "training": true}',
    ):
        safetensors.write(path, {}, {"spikeloom.network": text})
        with pytest.raises(ValueError, match=r"a\.safetensors must (hold|have format)"):
            snn.load(path)
