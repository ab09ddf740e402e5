"""An entropy coder of one's own: zlib, in pure Python, beside rANS.

    python examples/python/own_coder.py

A coder is a subclass of fmtc.Coder with a name, what it can do, and three methods: levels to
streams, streams to levels, and what a stream's header says. Registered, it is used like any other.
"""

import struct
import tempfile
import zlib

import torch
from torch import nn

import fmtc

# Magic, table_id, K, H, W, padding's rows and columns, bytes of the payload, CRC-32 of all others.
HEADER = struct.Struct("<4sHHHHBBII")
MAGIC = b"zlb1"
# What a decoder says of a stream that it cannot decode (csrc/core/status.h); 0 is a good one.
NO_STREAM, DAMAGED, OTHER_TABLES, OTHER_SHAPE = 2, 7, 10, 11


@fmtc.register_coder
class Zlib(fmtc.Coder):
    """The levels of an image as int16, component after component, compressed by zlib."""

    name = "zlib"
    escapes = True  # any int16 level has a code,
    predicted = True  # and so have differences from a prediction, where a preset wants it

    def encode(self, levels, crop=(0, 0), classes=None):
        streams = []
        for image in levels.cpu():
            payload = zlib.compress(image.contiguous().numpy().astype("<i2").tobytes(), 9)
            fields = MAGIC, self.table_id, *image.shape, *crop, len(payload)
            checksum = zlib.crc32(payload, zlib.crc32(HEADER.pack(*fields, 0)))
            streams.append(HEADER.pack(*fields, checksum) + payload)
        # One row an image: as long as the longest stream, of which `used` bytes count.
        used = torch.tensor([len(stream) for stream in streams], dtype=torch.int64)
        data = torch.zeros(len(streams), max(used.tolist(), default=0), dtype=torch.uint8)
        for row, stream in zip(data, streams, strict=True):
            row[: len(stream)] = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
        return data.to(levels.device), used.to(levels.device)

    def decode_unchecked(self, data, used, height, width):
        levels = torch.zeros(len(data), self.components, height, width, dtype=torch.int16)
        status = torch.zeros(len(data), dtype=torch.int32)
        for i, (row, size) in enumerate(zip(data.cpu(), used.tolist(), strict=True)):
            status[i] = self.decode_image(row[:size].numpy().tobytes(), levels[i])
        return levels.to(data.device), status.to(data.device)

    def decode_image(self, stream, levels):
        """Fill in the levels [K, H, W] of one stream; returns its status, damage must not raise."""
        if stream[: len(MAGIC)] != MAGIC or len(stream) < HEADER.size:
            return NO_STREAM
        *fields, checksum = HEADER.unpack_from(stream)
        payload = stream[HEADER.size :]
        if checksum != zlib.crc32(payload, zlib.crc32(HEADER.pack(*fields, 0))):
            return DAMAGED
        if fields[1] != self.table_id:
            return OTHER_TABLES
        if fields[2:5] != list(levels.shape):
            return OTHER_SHAPE
        # No more than fits, whatever a payload would become.
        values = zlib.decompressobj().decompress(payload, 2 * levels.numel() + 1)
        if len(values) != 2 * levels.numel():
            return DAMAGED
        if values:
            levels.copy_(torch.frombuffer(bytearray(values), dtype=torch.int16).view(levels.shape))
        return 0

    def stream_info(self, data):
        """How long the stream is that the data begin with, and of what shape."""
        if bytes(data[: len(MAGIC)]) != MAGIC or len(data) < HEADER.size:
            raise fmtc.StreamError("this is no stream of coder 'zlib'")
        _, _, _, height, width, crop_h, crop_w, size, _ = HEADER.unpack_from(data)
        shape = {"height": height, "width": width, "crop_h": crop_h, "crop_w": crop_w}
        return {"size": HEADER.size + size, **shape}


# The paper's scheme with a spatial prediction and that coder; `coder=` can name any other.
PRESET = fmtc.BitsPreset(name="paper-zlib", transform_bits=8, predict=True, coder="zlib")
fmtc.register_preset(PRESET)


def main():
    torch.manual_seed(0)
    images = nn.functional.interpolate(torch.randn(8, 3, 12, 12), scale_factor=4, mode="bilinear")
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    ).eval()  # fmt: skip
    for coder in ("zlib", "rans"):
        codec = fmtc.calibrate_tensor(images, "paper-zlib", bits=6, coder=coder)
        data = codec.encode(images)
        assert torch.equal(codec.decode(data), codec.simulate(images))
        rate = 8 * len(data) / images.numel()
        compressed = fmtc.compress(net, images, "paper-zlib", bits=6, coder=coder)
        point = fmtc.evaluate(compressed, images)  # through real streams
        print(f"{coder}: {rate:.3f} bits a value of a bare tensor, in a network "
              f"{point['bits_per_value']['stream']:.3f} at {point['snr_db']:.1f} dB")  # fmt: skip

    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        compressed = fmtc.compress(net, images, PRESET, bits=6)
        compressed.save(file.name)  # names the coder: to load it, that must be registered
        loaded = fmtc.load(file.name, net)
        assert torch.equal(loaded(images), compressed(images))
        print(f"saved and loaded with coder {loaded.coder}: the same outputs, bit for bit")


if __name__ == "__main__":
    main()
