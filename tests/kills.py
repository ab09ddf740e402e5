"""Kill at random moments whatever writes files, and look whether what was finished is whole.

``python tests/kills.py --kills 200 [--seed 0] [SCENARIO ...]``. Each scenario is killed so often
with SIGKILL: every other time at any moment of its run, otherwise at one of its steps with files
(Python's audit events) or within a millisecond of it. Prints how many of the kills came before the
end, and how many temporary files they left; exits with what is broken.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import networks
import numpy as np
import torch
from PIL import Image

import fmtc
from fmtc.cli import main as cli
from fmtc.files import TEMPORARY, write_atomically
from fmtc.results.result import load_result

STEPS = 40  # of the first so many steps with files, one is aimed at
ERRORS = Path(tempfile.gettempdir(), f"fmtc-kills-{os.getpid()}.txt")  # what failed work said
ROOT = Path(__file__).resolve().parents[1]
NETWORK = """
import torch
from torch import nn

def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 9, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 10))
"""


class Broken(AssertionError):
    """What a kill must not leave behind."""


class Scenario:
    """Work that writes into ``folder``, run in a forked process each time."""

    aimed = True  # its steps with files are Python's, so that kills can be aimed at them
    share = 1  # of the kills asked for

    def __init__(self, folder: Path):
        self.folder = folder
        self.prepare()

    def prepare(self) -> None:
        """What the work needs."""

    def work(self) -> None:
        """What is killed."""

    def check(self) -> None:
        """Broken, or what reading raises, where something is not whole."""

    def conclude(self) -> None:
        """The same at the end of all kills."""


class Alternating(Scenario):
    """Two contents for one file in turns: it must always be one of them."""

    name = "file"

    def prepare(self) -> None:
        self.path = self.folder / self.name
        self.contents = []
        for which in (0, 1):
            self.write(which)
            self.contents.append(self.path.read_bytes())
        assert self.contents[0] != self.contents[1]

    def write(self, which: int) -> None:
        raise NotImplementedError

    def work(self) -> None:
        for i in range(8):
            self.write(i % 2)

    def check(self) -> None:
        if self.path.read_bytes() not in self.contents:
            raise Broken(f"{self.path.name} is neither of the two")


def _codecs():
    return [fmtc.calibrate_tensor(networks.images(seed=s), "paper", bits=6) for s in (0, 1)]


class Large(Alternating):
    """Files that take a while to be written."""

    def prepare(self) -> None:
        self.data = [bytes([which + 1]) * (4 << 20) for which in (0, 1)]
        super().prepare()

    def write(self, which: int) -> None:
        write_atomically(self.path, self.data[which])


class Save(Alternating):
    """``CompressedModel.save`` of a network."""

    def prepare(self) -> None:
        self.models = [
            fmtc.compress(networks.tiny(seed=s), networks.images(4), "paper", target=fmtc.Bits(6))
            for s in (0, 1)
        ]
        super().prepare()

    def write(self, which: int) -> None:
        self.models[which].save(self.path)

    def conclude(self) -> None:
        fmtc.load(self.path, networks.tiny(seed=self.contents.index(self.path.read_bytes())))


class Codec(Alternating):
    """``TensorCodec.save``."""

    def prepare(self) -> None:
        self.codecs = _codecs()
        super().prepare()

    def write(self, which: int) -> None:
        self.codecs[which].save(self.path)

    def conclude(self) -> None:
        fmtc.TensorCodec.load(self.path)


class Reference(Alternating):
    """``fmtc.export_reference``."""

    def prepare(self) -> None:
        self.model = fmtc.compress(
            networks.tiny(), networks.images(4), "paper", target=fmtc.Bits(6)
        )
        super().prepare()

    def write(self, which: int) -> None:
        fmtc.export_reference(self.model, self.path, networks.images(2, seed=which))


class Program(Alternating):
    """``fmtc_codec``: bundles, and tensors of bundles."""

    aimed = False

    def prepare(self) -> None:
        self.program = next((ROOT / "build").glob("cmake-*/csrc/codec/fmtc_codec"), None)
        if self.program is None:
            raise FileNotFoundError("fmtc_codec was not built: `make build-programs`")
        codec = _codecs()[0]
        codec.save(self.folder / "codec.safetensors")
        for which in (0, 1):
            x = networks.images(6, 48, seed=which)
            np.save(self.folder / f"in{which}.npy", x.numpy())
            (self.folder / f"in{which}.bundle").write_bytes(codec.encode(x))
        super().prepare()

    def command(self, which: int) -> list[str]:
        raise NotImplementedError

    def write(self, which: int) -> None:
        subprocess.run(self.command(which), check=True, capture_output=True)

    def work(self) -> None:
        os.execv(self.program, self.command(random.randrange(2)))


class Encode(Program):
    """``fmtc_codec encode``: writes a bundle."""

    name = "file.bundle"

    def command(self, which: int) -> list[str]:
        names = "codec.safetensors", f"in{which}.npy", self.name
        return [str(self.program), "encode", *(str(self.folder / name) for name in names)]


class Decode(Program):
    """``fmtc_codec decode``: writes a tensor."""

    name = "file.npy"

    def command(self, which: int) -> list[str]:
        names = "codec.safetensors", f"in{which}.bundle", self.name
        return [str(self.program), "decode", *(str(self.folder / name) for name in names)]


class Export(Scenario):
    """``fmtc.export``; compiled once, packaged each time."""

    def prepare(self) -> None:
        self.model = fmtc.compress(
            networks.tiny(), networks.images(4), "paper", target=fmtc.Bits(6)
        )
        self.path = self.folder / "m.pt2"
        self.compiled = self.folder / "compiled"
        pid = os.fork()  # what compiles has threads, which a fork would lose
        if pid == 0:
            _quietly(self._compile)
        _, status = os.waitpid(pid, 0)
        if status:
            raise Broken("the network was not compiled")
        self.check()

    def _compile(self) -> None:
        from torch import _inductor

        real = _inductor.aot_compile

        def kept(module, inputs, options):
            files = real(module, inputs, options=options)
            name = Path(options["aot_inductor.output_path"]).name
            (self.compiled / name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, self.compiled / name)
            return files

        with mock.patch.object(_inductor, "aot_compile", kept):
            fmtc.export(self.model, self.path, networks.images(2))

    def work(self) -> None:
        from torch import _inductor

        def copied(module, inputs, options):
            name = Path(options["aot_inductor.output_path"]).name
            return [str(path) for path in (self.compiled / name).iterdir()]

        with mock.patch.object(_inductor, "aot_compile", copied):
            fmtc.export(self.model, self.path, networks.images(2))

    def check(self) -> None:
        with zipfile.ZipFile(self.path) as package:
            wrong = package.testzip()
            files = [info.filename for info in package.infolist()]
        compiled = [path.name for path in self.compiled.rglob("*.cpp")]
        if wrong or not all(any(name in file for file in files) for name in compiled):
            raise Broken(f"the package: {wrong or files}")

    def conclude(self) -> None:
        from torch._inductor.package import load_package

        load_package(str(self.path), "compressed")


class Eval(Scenario):
    """``fmtc eval``, resumed after each kill, and begun anew when it has come to its end."""

    values = (5, 6, 7, 8)

    def prepare(self) -> None:
        (self.folder / "net.py").write_text(NETWORK)
        pixels = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
        np.savez(self.folder / "data.npz", images=pixels, labels=np.arange(30) % 10)
        self.out = self.folder / "out"
        self.run()
        self.expected = self.points()
        shutil.rmtree(self.out)

    def run(self) -> None:
        arguments = ["--model", f"{self.folder}/net.py:make", "--data", f"{self.folder}/data.npz"]
        arguments += ["--preprocess", "mean=0.5,std=0.25", "--calib-images", "8"]
        arguments += ["--preset", "paper", "--bits", *map(str, self.values)]
        self.command("eval", *arguments)

    def command(self, *arguments: str) -> None:
        with redirect_stdout(io.StringIO()):
            code = cli.main([*arguments, "--quiet", "--out", str(self.out)])
        if code != 0:
            raise Broken(f"fmtc {arguments[0]}")

    def work(self) -> None:
        self.run()

    def points(self) -> list[dict]:
        points = load_result(self.out / "result.json")["points"]
        return [{key: p[key] for key in p if key != "seconds"} for p in points]

    def check(self) -> None:
        result, figure = self.out / "result.json", self.out / "rate_distortion.png"
        if figure.exists():
            with Image.open(io.BytesIO(figure.read_bytes())) as image:
                image.load()
        if not result.exists():
            return
        points = self.points()
        if points != self.expected[: len(points)]:
            raise Broken("points are not those of a run without kills")
        if len(points) == len(self.expected) and figure.exists():
            shutil.rmtree(self.out)

    def conclude(self) -> None:
        self.run()
        if self.points() != self.expected:
            raise Broken("the last run does not complete the result")


class Demo(Eval):
    """``fmtc demo``, with a network that is not trained and few images."""

    share = 0.25

    def prepare(self) -> None:
        from fmtc.cli import demo

        made = demo.DigitsResNet().eval()  # untrained: what it says does not matter here
        data = demo.digits_data()
        self.patches = [
            mock.patch.object(demo, "digits_model", lambda progress: made),
            mock.patch.object(
                demo, "digits_data", lambda: demo.Digits(*(part[:80] for part in data))
            ),
            mock.patch.object(demo, "CURVES", {"paper": [fmtc.Bits(b) for b in self.values]}),
        ]
        self.out = self.folder / "out"
        self.run()
        self.expected = self.points()
        shutil.rmtree(self.out)

    def run(self) -> None:
        for patch in self.patches:
            patch.start()
        self.command("demo")


SCENARIOS = {
    kind.__name__.lower(): kind
    for kind in (Large, Save, Codec, Encode, Decode, Export, Reference, Eval, Demo)
}


def _quietly(work: Callable[[], None]) -> None:
    """Run it without output and leave this process; 0 where it came to its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
    os._exit(1)


def _die_at(step: int, folder: Path) -> None:
    """End this process at one of its steps with files in the folder, or within a moment of it.

    SIGALRM, which nobody handles, ends it as SIGKILL does, and comes when a timer says.
    """
    left = step

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        kind = event == "open" or event.startswith("os.")
        if kind and any(isinstance(a, str) and a.startswith(str(folder)) for a in arguments[:2]):
            left -= 1
            if left == 0:
                signal.setitimer(signal.ITIMER_REAL, random.choice([1e-6, random.uniform(0, 1e-3)]))

    sys.addaudithook(hook)


def kill_once(scenario: Scenario, moment: float | None, step: int | None) -> bool:
    """Run the work in a process of its own; True where a kill ended it, not its own end.

    moment: seconds after which it is killed; step: at which of its steps with files. None: never.
    """
    pid = os.fork()
    if pid == 0:
        if step is not None:
            _die_at(step, scenario.folder)
        _quietly(scenario.work)
    if moment is not None:
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)  # also where it has ended: nobody has waited for it yet
    _, status = os.waitpid(pid, 0)
    if status and not os.WIFSIGNALED(status):
        raise Broken(f"the work failed: {ERRORS.read_text()}")
    return os.WIFSIGNALED(status)


def run(name: str, kills: int, seed: int) -> None:
    chance = random.Random(f"{name} {seed}")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fmtc-kills-") as folder:
        random.seed(f"{name} {seed}")
        scenario = SCENARIOS[name](Path(folder))
        kills = max(1, round(kills * scenario.share))
        start = time.perf_counter()
        if kill_once(scenario, None, None):
            raise Broken("killed by somebody else")
        seconds = time.perf_counter() - start
        scenario.check()
        early = 0
        for number in range(kills):
            aimed = scenario.aimed and chance.random() < 0.5
            moment, step = chance.uniform(0, seconds), chance.randint(1, STEPS)
            early += kill_once(scenario, None if aimed else moment, step if aimed else None)
            try:
                scenario.check()
            except Exception as error:
                raise Broken(f"{name}, kill {number} of seed {seed}: {error!r}") from error
        scenario.conclude()
        left = sum(1 for _ in Path(folder).rglob(f"{TEMPORARY}*"))
    spent = time.perf_counter() - began
    print(
        f"{name:10} {kills:5} kills, {early:4} before the end of its {seconds:6.3f} s, {left:4} "
        f"temporary files left; {spent:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--kills", type=int, default=3, help="of each scenario (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in args.scenarios or SCENARIOS:
        run(name, args.kills, args.seed)
    ERRORS.unlink(missing_ok=True)
    print("all is whole")


if __name__ == "__main__":
    main()
