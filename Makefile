# Everything here works on a fresh machine with Python 3.11 (or newer) and make.
PYTHON ?= python3.11
BIN = .venv/bin

.PHONY: help setup demo test check mutants pictures bench bench-predict bench-sklearn bench-lens bench-ranks growth book rules clean ulps

help:
	@echo "make demo    train on the embedded digits, show where the error goes, check it"
	@echo "make test    all tests, the linter and the type checker"
	@echo "make mutants break the code on purpose; each break must turn a named test red"
	@echo "make pictures   the page's pictures in docs/pictures, taken in Chromium"
	@echo "make book    the book's MNIST results (DELTARULE_MNIST names the folder of its IDX files)"
	@echo "make rules   the papers' settings for rules that replace the transpose, shortened (DELTARULE_MNIST)"
	@echo "make bench   a step's time beside PyTorch's, JAX's and scikit-learn's, and beside the machine's limit"
	@echo "make bench-predict | bench-sklearn | bench-lens | growth   other measurements of time"
	@echo "make ulps    the worst error of e^x, ln x, sigmoid and tanh over every float32"
	@echo "make bench-lens  what watching a PyTorch model costs, beside other ways"
	@echo "make bench-ranks     an epoch by two processes that train together, beside one"
	@echo "make bench-sklearn   MLPClassifier and MLPRegressor beside scikit-learn's: weights, scores, time"

# The stamp is new only when the installation went through.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

setup: .venv/installed

demo: setup
	$(BIN)/python -m deltarule demo

test: check
	$(BIN)/python -m pytest -n auto

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: setup
	$(BIN)/python tests/mutants.py

pictures: setup
	$(BIN)/python docs/pictures.py

book: setup
	$(BIN)/python benchmarks/book.py

rules: setup
	$(BIN)/python benchmarks/rules.py $(BENCH_FLAGS)

bench: setup
	$(BIN)/python benchmarks/step.py $(BENCH_FLAGS)

bench-predict: setup
	$(BIN)/python benchmarks/predict.py $(BENCH_FLAGS)

ulps: setup
	$(BIN)/python benchmarks/ulps.py $(BENCH_FLAGS)

growth: setup
	$(BIN)/python benchmarks/growth.py $(BENCH_FLAGS)

bench-lens: setup
	$(BIN)/python benchmarks/lens.py $(BENCH_FLAGS)

bench-ranks: setup
	$(BIN)/python benchmarks/ranks.py $(BENCH_FLAGS)

bench-sklearn: setup
	$(BIN)/python benchmarks/estimators.py $(BENCH_FLAGS)

clean:
	rm -rf .venv build dist src/deltarule/kernels/__pycache__
