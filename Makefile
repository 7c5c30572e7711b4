# `make help` lists what there is. Everything installs itself into .venv; nothing else on the machine is touched,
# but for PostgreSQL, which `make test` installs on a machine of CI.
PYTHON ?= python3
VENV := .venv/.ok
PY := .venv/bin/python
GO_PLUGINS := .tools/bin/.ok
CASES ?= tests/conformance/cases

# Tests and the demo start hundreds of processes: they start in half the time if compiled modules are kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo month-end test long simulate go lint types protos protos-check release pages verify bench conformance chaos check-watch clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV): pyproject.toml constraints.txt
	@echo "installing what is needed into .venv, which takes a minute or less"
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip -qq install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Pinned, so that everybody makes the same stubs. Without Go the Go stubs stay as they are, and generate.py says so.
$(GO_PLUGINS):
	@mkdir -p .tools/bin
	@if command -v go >/dev/null; then \
	  export GOBIN=$(CURDIR)/.tools/bin && \
	  go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10 && \
	  go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1 && touch $@; \
	fi

demo: $(VENV) bonus-worker ## Run the salary process: workers, an approval, a failure with its SMS, a killed server
	@$(PY) examples/salary/demo.py

month-end: $(VENV) bonus-worker ## Pay 1,000 salaries with one bulk approval, and say how long it took (EMPLOYEES=n)
	@$(PY) examples/salary/month_end.py $(EMPLOYEES)

# The Go compiler's cache then makes the demo's own build a matter of a second.
.PHONY: bonus-worker
bonus-worker:
	@if command -v go >/dev/null; then echo "building the bonus worker in Go" && cd examples/salary/bonus && go build -o /dev/null . ; fi

# Three processes for two cores: tests wait for leases, pauses and programs that start for a third of their time.
test: $(VENV) ## Run the tests (ARGS='-k join' for some of them)
	@. tools/ensure_postgres.sh && $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not long' $(ARGS)

long: $(VENV) ## Run the tests that `make test` leaves out: more hostile texts, scenarios over gRPC, parts of the bench
	@$(PY) -m pytest -n 2 --dist load -m long $(ARGS)

simulate: $(VENV) ## Let 1,000 random workflows run into random trouble, others each time (EXAMPLES=n)
	@TRADEWIND_RANDOM_EXAMPLES=$(or $(EXAMPLES),1000) $(PY) -m pytest -n 2 --dist load \
	  tests/engine/test_random_workflows.py tests/engine/test_random_votes.py tests/engine/test_interruptions.py \
	  tests/engine/test_true_alarms.py

# Part of `make test`, too, which says at its end if Go is missing.
go: ## Check and test the Go client: gofmt, go vet, go test
	@cd clients/go && unformatted="$$(gofmt -l .)" && test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	@cd clients/go && go vet ./... && go test ./...

lint: $(VENV) ## Check style: ruff, buf lint, buf format
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/buf lint
	@.venv/bin/buf format -d --exit-code

types: $(VENV) ## Check types: mypy --strict
	@.venv/bin/mypy

protos: $(VENV) $(GO_PLUGINS) ## Make the stubs from the protos
	@$(PY) tools/generate.py

protos-check: $(VENV) $(GO_PLUGINS) ## Compare the stubs with the protos, and the protos with the last release
	@$(PY) tools/generate.py --check
	@.venv/bin/buf breaking --against protos/baseline.binpb

release: $(VENV) ## At a new version: keep what it promises as what later ones must not break
	@.venv/bin/buf build -o protos/baseline.binpb
	@$(PY) tools/golden.py

pages: $(VENV) ## Write the pages that are made from protos, settings, errors and state tables
	@$(PY) -m tools.pages

verify: $(VENV) protos-check ## Compare everything that is made from something else
	@$(PY) -m tools.pages --check

bench: $(VENV) ## Measure, and write bench/results.md
	@$(PY) -m bench $(ARGS)

conformance: $(VENV) ## Run the language cases (CASES=folder) and say how many agree
	@$(PY) -m tests.conformance $(CASES)

chaos: $(VENV) ## Kill servers 100 times on each database and look what is lost (KILLS=n, SEED=n)
	@. tools/ensure_postgres.sh && for database in sqlite postgresql; do \
	  $(PY) -m tests.crash --kills $(or $(KILLS),100) $(if $(SEED),--seed $(SEED)) --database $$database || exit 1; done

check-watch: $(VENV) ## Watchers of three servers, killed and cut off 1,000 times, see every event once (KILLS=n, RECONNECTS=n, SEED=n)
	@. tools/ensure_postgres.sh && $(PY) -m tests.crash --kills $(or $(KILLS),60) $(if $(SEED),--seed $(SEED)) \
	  --database postgresql --servers 3 --outages --reconnects $(or $(RECONNECTS),1000)

clean: ## Remove what the targets made
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache build *.egg-info
