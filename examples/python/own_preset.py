"""A preset of one's own, with a rule of one's own for the range that is quantised.

    python examples/python/own_preset.py

The rule here leaves out what is farthest: one value in 500 at each end of a layer's range. To have
it wherever fmtc is imported, also on the command line (`fmtc eval --preset percentile`), put the
two registrations into a module of a package with this entry point:

    [project.entry-points."fmtc.plugins"]
    percentile = "your_package.your_module"
"""

import torch
from torch import nn

import fmtc

LEFT_OUT = 1 / 500  # of the values, at each end


def percentile(values, bits, each):
    """Where to quantise a layer's values in 2^bits levels: low and high end, and bits.

    values() gives the calibration tensors [N, C, H, W], as often as it is called; they need not fit
    into memory together, but do here. each: whether channels may have ranges of their own, which
    would be three tensors [C]; one range for the layer is always right.
    """
    y = torch.cat([part.flatten() for part in values()]).double()
    left = int(LEFT_OUT * len(y))
    low, high = y.kthvalue(left + 1).values, y.kthvalue(len(y) - left).values
    return low, high, torch.tensor(bits)


fmtc.register_range("percentile", percentile)

# A quantiser without transform, for what activations write, stored in b bits a value; what is not
# said here has the default of fmtc.BitsPreset.
fmtc.register_preset(
    fmtc.BitsPreset(
        name="percentile",
        transform="none",
        drop_components=False,
        margin=0.0,
        rule="percentile",
        max_bits=8,
        side="after",
        coder="fixed",
    )
)


def network():
    """A small one with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    ).eval()  # fmt: skip


def noise(images):
    """Smooth images, some pixels of which are far out."""
    smooth = nn.functional.interpolate(torch.randn(images, 3, 8, 8), scale_factor=5.0)
    return smooth * (1 + 20 * (torch.rand(smooth.shape) > 0.9995))


def main():
    print("presets:", ", ".join(fmtc.list_presets()))
    net, calibration, test = network(), noise(32), noise(16)
    for bits in (4, 6):
        for preset in ("gemmlowp", "percentile"):  # [min, max] of all values, and without some
            compressed = fmtc.compress(net, calibration, preset, bits=bits, coder="fixed")
            point = fmtc.evaluate(compressed, test)
            rate = point["bits_per_value"]["stream"]
            print(f"{bits} bits, {preset}: {point['snr_db']:.1f} dB, streams of {rate:.2f} bits")
    print(compressed.report())


if __name__ == "__main__":
    main()
