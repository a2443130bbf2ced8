PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo test test-all check docs bench acceptance lock clean

demo: $(VENV)/installed
	@$(BIN)/pggit-analytics demo

test: $(VENV)/installed check
	$(BIN)/pytest -m "not debian and not browser"

# On Debian's PostgreSQL 15 as well; the server goes again, whatever the tests say. Pages in Debian's Chromium.
test-all: $(VENV)/installed
	@trap 'tests/debian.sh stop' EXIT; trap 'exit 130' INT TERM; \
	tests/debian.sh start >/dev/null || exit; \
	$(BIN)/pytest --server-url "$$(tests/debian.sh url)" tests/parity tests/integration tests/pgtap || exit; \
	tests/browser.sh install && $(BIN)/pytest -m browser tests/browser; \
	exit $$?

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Into site/; with warnings, such as links that lead nowhere, as errors.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Writes the table of the README and docs/benchmarks.md. BENCH_ROWS=10000000 for ten million timings.
BENCH_ROWS ?= 1000000
bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py --rows $(BENCH_ROWS)

# Writes docs/acceptance.md. Where Debian's packages can be had, with a server that has pg_cron; it goes again.
acceptance: $(VENV)/installed
	@directory=/tmp/pggit-acceptance-pg_cron-$$$$; \
	trap 'tests/debian.sh stop "$$directory"' EXIT; trap 'exit 130' INT TERM; \
	url=; if tests/debian.sh start "$$directory" >/dev/null; then url=$$(tests/debian.sh url "$$directory"); fi; \
	$(BIN)/python benchmarks/acceptance.py $${url:+--pg-cron-url "$$url"}; \
	exit $$?

# Everything from the lock, each file checked against its hash; then the project itself, without looking anything up.
$(VENV)/installed: requirements.lock pyproject.toml
	@echo "Installing into $(VENV) ..."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Needs uv. Pins every dependency of every extra with its hashes and no index address.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet -o requirements.lock

clean:
	rm -rf $(VENV) .pggit dist build
