# The commands of the README. Everything is fetched once per machine, into the user's cache folder.

PYTHON ?= python3
CARGO ?= cargo
# Beside the clone unless the user keeps target folders elsewhere.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/retort

.PHONY: demo test libtorch demo-data test-python test-browser golden nightly lint bench bench-ingest bench-cache bench-sql bench-summary bench-teach bench-train bench-learn

## the main job, on a small public data set, from nothing to a report
demo: libtorch demo-data
	$(CARGO) build --release --locked
	"$(CARGO_TARGET_DIR)/release/retort" demo

## every test, with and without libtorch
test: libtorch demo-data test-python test-browser
	$(CARGO) test --workspace --locked
	$(CARGO) test --locked --no-default-features

## what is too long for every change: a hundred times as many flipped bits and random tables; CONTRIBUTING tells more
nightly:
	RETORT_FLIPS=$(or $(RETORT_FLIPS),1000000) PROPTEST_CASES=$(or $(PROPTEST_CASES),25600) \
		$(CARGO) test --release --locked -p retort-cache

## libtorch 2.11.0, or the one that LIBTORCH names
libtorch:
	$(PYTHON) teachers/nn/libtorch.py

## easy-VQA and all-MiniLM-L6-v2, checked by hash
demo-data:
	$(PYTHON) src/demo/fetch.py

## the Python of the tests that read retort's files with pyarrow, DuckDB, Polars, TensorBoard and others
test-python: $(CACHE)/test-python/ready

# Beside the folder first: what is in use stays whole until the new one is.
$(CACHE)/test-python/ready: tests/py/requirements.txt tests/py/requirements-readers.txt
	rm -rf $(CACHE)/test-python.new && mkdir -p $(CACHE)/test-python.new
	grep -hE '^(numpy|pillow|pyarrow|safetensors|tensorboard|duckdb|polars|webdataset)==' $^ \
		> $(CACHE)/test-python.new/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(CACHE)/test-python.new \
		--requirement $(CACHE)/test-python.new/requirements.txt
	touch $(CACHE)/test-python.new/ready
	rm -rf $(CACHE)/test-python && mv $(CACHE)/test-python.new $(CACHE)/test-python

## the headless Chromium of the tests that look at pages; 200 MB, on Linux and x86-64
test-browser: $(CACHE)/test-browser/ready

# What fetched it goes again: Node alone is half of it.
$(CACHE)/test-browser/ready: tests/py/requirements-browser.txt tests/py/fetch_browser.py
	rm -rf $(CACHE)/test-browser.new && mkdir -p $(CACHE)/test-browser.new
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(CACHE)/test-browser.new/python --requirement $<
	PYTHONPATH=$(CACHE)/test-browser.new/python $(PYTHON) tests/py/fetch_browser.py $(CACHE)/test-browser.new
	rm -rf $(CACHE)/test-browser.new/python
	touch $(CACHE)/test-browser.new/ready
	rm -rf $(CACHE)/test-browser && mv $(CACHE)/test-browser.new $(CACHE)/test-browser

## formatting, lints and documentation, as CI checks them
lint: libtorch
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

## make the golden files again (in a virtual environment of its own)
golden: demo-data $(CACHE)/golden-venv/ready
	PYTHONHASHSEED=0 $(CACHE)/golden-venv/bin/python tests/py/make_goldens.py
	$(CACHE)/golden-venv/bin/python tests/py/make_losses.py
	$(CACHE)/golden-venv/bin/python tests/py/make_statistics.py

## every benchmark, beside what people use; docs/benchmarks.md holds the results
bench: bench-ingest bench-cache bench-sql bench-summary bench-teach bench-train

## images a second and memory of ingest
bench-ingest: libtorch $(CACHE)/peers/ready
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked -p retort-pixels --example work
	$(CACHE)/peers/bin/python tests/peers/ingest.py --work "$(CARGO_TARGET_DIR)/bench-ingest" \
		--retort "$(CARGO_TARGET_DIR)/release/retort" --own-work "$(CARGO_TARGET_DIR)/release/examples/work"
	$(CACHE)/peers/bin/python tests/peers/memory.py --work "$(CARGO_TARGET_DIR)/bench-ingest" \
		--retort "$(CARGO_TARGET_DIR)/release/retort"

## samples a second of a shuffled epoch from the cache, random rows, memory and disk
bench-cache: $(CACHE)/peers-cache/ready
	$(CARGO) build --release --locked -p retort-cache --example epoch
	$(CACHE)/peers-cache/bin/python tests/peers/cache.py --work "$(CARGO_TARGET_DIR)/bench-cache" \
		--retort "$(CARGO_TARGET_DIR)/release/examples/epoch"

## the ten nearest of a million vectors, in SQL
bench-sql: $(CACHE)/peers-sql/ready
	$(CARGO) build --release --locked --example search
	$(CACHE)/peers-sql/bin/python tests/peers/sql.py --work "$(CARGO_TARGET_DIR)/bench-sql" \
		--retort "$(CARGO_TARGET_DIR)/release/examples/search"

## retort summary of ten million rows, and beside DuckDB's SUMMARIZE on the data sets that DATASETS names
bench-summary: $(CACHE)/peers-sql/ready
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked -p retort-cache --example shards
	$(CACHE)/peers-sql/bin/python tests/peers/summary.py --work "$(CARGO_TARGET_DIR)/bench-summary" \
		--retort "$(CARGO_TARGET_DIR)/release/retort" --shards "$(CARGO_TARGET_DIR)/release/examples/shards" \
		$(if $(DATASETS),--dataset $(DATASETS))

## features a second: from photos and captions to disk, and the models alone; FLICKR8K names a folder with Flickr8k.token.txt and images/,
## TEACH more options, as TEACH="--device cuda --dtype bf16 --clip l14 --batch 256 --photos 8000" on a machine with a GPU
bench-teach: libtorch demo-data $(CACHE)/golden-venv/ready
ifdef FLICKR8K
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked --example encode
	$(CACHE)/golden-venv/bin/python tests/peers/teach.py --work "$(CARGO_TARGET_DIR)/bench-teach" --flickr8k "$(FLICKR8K)" \
		--minilm "$(CACHE)/demo/minilm" --retort "$(CARGO_TARGET_DIR)/release/retort" \
		--encode "$(CARGO_TARGET_DIR)/release/examples/encode" $(TEACH)
else
	@echo "bench-teach is skipped: FLICKR8K names no folder with photos"
endif

## a step of training: plain, from the cache, with the teachers in the loop, and in PyTorch
bench-train: libtorch demo-data $(CACHE)/golden-venv/ready
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked --example steps
	$(CACHE)/golden-venv/bin/python tests/peers/train.py --work "$(CARGO_TARGET_DIR)/bench-train" \
		--retort "$(CARGO_TARGET_DIR)/release/retort" --steps "$(CARGO_TARGET_DIR)/release/examples/steps"

## what students learn, with fixed seeds: all of easy-VQA, every arm on 5 % of it, and SNLI-VE where SNLI_VE names a folder
bench-learn: libtorch demo-data $(CACHE)/golden-venv/ready
	$(CARGO) build --release --locked
	$(CACHE)/golden-venv/bin/python tests/peers/learn.py --work "$(CARGO_TARGET_DIR)/bench-learn" \
		--retort "$(CARGO_TARGET_DIR)/release/retort" $(if $(SNLI_VE),--snli-ve "$(SNLI_VE)")

$(CACHE)/golden-venv/ready: tests/py/requirements.txt
	rm -rf $(CACHE)/golden-venv
	$(PYTHON) -m venv $(CACHE)/golden-venv
	$(CACHE)/golden-venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(CACHE)/peers-cache/ready: tests/peers/requirements-cache.txt
	rm -rf $(CACHE)/peers-cache
	$(PYTHON) -m venv $(CACHE)/peers-cache
	$(CACHE)/peers-cache/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(CACHE)/peers-sql/ready: tests/peers/requirements-sql.txt
	rm -rf $(CACHE)/peers-sql
	$(PYTHON) -m venv $(CACHE)/peers-sql
	$(CACHE)/peers-sql/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(CACHE)/peers/ready: tests/peers/requirements.txt
	rm -rf $(CACHE)/peers
	$(PYTHON) -m venv $(CACHE)/peers
	$(CACHE)/peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
