"""Bounds for what `make cuda-report` finds, and its parts on made-up code."""

import pytest

from experiments.bench import cuda_report
from experiments.bench.cuda_report import ARCHITECTURES, EMULATED, SOURCES


@pytest.fixture(scope="module")
def layers():
    if not EMULATED.exists():
        pytest.skip(f"no emulated CUDA operators at {EMULATED}: `make build-emulated` makes them")
    return {batch: cuda_report.layer_reports(batch) for batch in cuda_report.BATCHES}


@pytest.fixture(scope="module")
def kernels(layers):
    """Reports by kernel and architecture."""
    for tool in ("nvcc", "cuobjdump", "nvdisasm"):
        try:
            cuda_report.find_tool(tool)
        except FileNotFoundError as error:
            pytest.skip(str(error))
    shared = cuda_report.shared_bytes_of(layers)
    sources = [SOURCES / name for name in ("rans.cu", "huffman.cu", "predict.cu", "streams.cu")]
    return {
        (report.kernel, report.architecture): report
        for source in sources
        for architecture in ARCHITECTURES
        for report in cuda_report.reports_of(source, architecture, shared)
    }


@pytest.mark.parametrize("architecture", [a.name for a in ARCHITECTURES])
def test_rans_kernels_are_short_and_fill_a_multiprocessor(kernels, architecture):
    most = {"DecodeRans<SharedDecodeTables>": 37, "EncodeRans<SharedEncodeTables>": 45}
    for name, instructions in most.items():
        report = kernels[name, architecture]
        assert report.threads >= 4 * 32
        assert report.loop_instructions <= instructions
        assert report.occupancy >= 0.75
        assert report.local_bytes == 0
    # Tables and digits are in shared memory; levels are loaded before their turn.
    assert kernels["DecodeRans<SharedDecodeTables>", architecture].loop_loads == 0
    assert kernels["EncodeRans<SharedEncodeTables>", architecture].loop_loads <= 1


@pytest.mark.parametrize("architecture", [a.name for a in ARCHITECTURES])
def test_other_kernels_of_a_layer(kernels, architecture):
    assert kernels["DecodeHuffman", architecture].local_bytes == 0
    assert kernels["Predict<j>", architecture].divisions == 0
    # Of 128 bytes; 32 values of 7 bits are 28, and take the decoder 43 instructions or more.
    assert kernels["WriteStreams", architecture].loop_instructions <= 20


@pytest.mark.parametrize("batch", cuda_report.BATCHES)
def test_a_batch_takes_few_launches_and_nothing_is_set_to_0_before(layers, batch):
    values = 2 * 64 * 28 * 28
    encode = cuda_report.summary(layers[batch]["encode"], values)
    decode = cuda_report.summary(layers[batch]["decode"], values)
    classes = "classes" in batch  # of positions are found and arranged by two more
    assert encode["launches"] <= (6 if classes else 4) and decode["launches"] <= 4
    assert encode["memset_bytes_a_value"] < 0.001 and decode["memsets"] == 0
    assert decode["allocation_bytes_a_value"] < (15 if classes else 9)


# -- The report itself ----------------------------------------------------------------------------

CODE = """
.L_x_1
LDG.E R1, [R2]
VOTE.ANY R3, PT, P0
@P0 BRA `(.L_x_3)
IADD3 R4, R4, 0x1, RZ
.L_x_2
IADD3 R5, R5, 0x1, RZ
@P1 BRA `(.L_x_2)
.L_x_3
STG.E [R2], R1
@P2 BRA `(.L_x_1)
EXIT
.L_x_4
BRA `(.L_x_4)
""".split("\n")[1:-1]


def test_loops_leave_out_loops_and_detours():
    marker = cuda_report.Marker(r"\bVOTE\.ANY")
    assert cuda_report.loops_of(CODE) == [(0, 10), (5, 7)]
    loop = cuda_report.hot_loop(CODE, marker)
    assert len(loop.instructions) == 6  # without the two of the inner loop
    assert len(loop.usual) == 5 and not any("R4" in each for each in loop.usual)
    assert cuda_report.of_loop(loop, marker) == [5, 6, 1]
    kept = cuda_report.hot_loop(CODE, cuda_report.Marker(r"\bVOTE\.ANY", usual="R4, R4"))
    assert len(kept.usual) == 6


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "expected"),
    [(256, 32, 0, 1.0), (512, 40, 46208, 0.75), (512, 40, 100 << 10, 0.5), (32, 32, 0, 0.5)],
)
def test_occupancy(threads, registers, shared, expected):
    hopper = ARCHITECTURES[1]
    assert cuda_report.occupancy(hopper, threads, registers, shared) == expected


def test_names_of_kernels():
    names = ["Predict", "Unpredict", "DecodeRans"]
    prefix = "_ZN4fmtc4cuda3runINS0_39_GLOBAL__N__487abbcd_7_rans_cu_9c4189cd"
    assert cuda_report.name_of(prefix + "9UnpredictEEEvT_", names) == "Unpredict"
    assert cuda_report.name_of(prefix + "7PredictIjEEEEvT_", names) == "Predict<j>"
    tables = "10DecodeRansINS0_18SharedDecodeTablesEEEEEvT_"
    assert cuda_report.name_of(prefix + tables, names) == "DecodeRans<SharedDecodeTables>"
    assert cuda_report.name_of("$__internal_0_$__cuda_sm20_div_u64", names) is None
