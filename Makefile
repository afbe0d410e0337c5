# Each target is one visible command once the environment exists.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/videos
MINUTES ?=
SLOW_PART ?=

.PHONY: app test test-all lint format train evaluate bench docs gallery

app: .venv/.app ## serve the page at http://127.0.0.1:7860
	$(BIN)/python -m app

test: .venv/.dev chromium egl ## the quick tests, browser tests included, in two processes: some minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-all: test ## then the slow tests, which start their own processes; SLOW_PART=1/3 runs a third of them
	$(BIN)/python -m pytest -m slow $(if $(SLOW_PART),--slow-part $(SLOW_PART))

lint: .venv/.dev ## ruff, and pyright on lawm_core
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/basedpyright

format: .venv/.dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

train: .venv/.train ## all stages of nano256 from scratch, into runs/nano256
	$(BIN)/python -m lawm_core train all --recipe nano256 --data $(DATA) --out runs/nano256 --resume $(if $(MINUTES),--minutes $(MINUTES))

evaluate: .venv/.app ## the shipped model on the val split, into report/
	$(BIN)/python -m lawm_core evaluate --data $(DATA) --out report

bench: .venv/.dev chromium egl ## every benchmark of speed and memory, as one table and report/bench.json: some minutes
	$(BIN)/python benchmarks

docs: .venv/.docs ## the site, into site/
	$(BIN)/python -m mkdocs build --quiet --strict

gallery: .venv/.app ## draw the gallery's clips again
	$(BIN)/python assets/make_gallery.py

.venv/.app: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

# Training also needs OpenCV, whose optical flow is the teacher.
.venv/.train: requirements-train.txt .venv/.app
	$(BIN)/python -m pip install --quiet -r requirements-train.txt
	touch $@

.venv/.dev: requirements-dev.txt requirements-scale.txt requirements-docs.txt requirements-train.txt .venv/.app
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

# The site is built from the source without running it, so it needs none of the app's packages.
.venv/.docs: requirements-docs.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

# The simulated robots are rendered off-screen, by EGL and OpenGL or by OSMesa.
.PHONY: egl
egl:
	@{ ldconfig -p | grep -q libEGL.so.1 && ldconfig -p | grep -q -e libOpenGL.so.0 -e libGL.so.1; } || \
	ldconfig -p | grep -q libOSMesa.so || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && xargs apt-get install -y -qq < packages.txt >/dev/null; } || \
	{ echo "The simulated robots need EGL: xargs sudo apt-get install -y < packages.txt" >&2; exit 1; }

# The browser tests use Debian's Chromium; without the rights to install it, the command is printed instead.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	{ echo "The browser tests need Chromium: sudo apt-get install -y chromium" >&2; exit 1; }
