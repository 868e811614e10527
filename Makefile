# The two that matter: `make demo` and `make test`. Both prepare what they need (deploy/setup).
# ARGS is handed on:  make demo ARGS=--stay

SETUP := sh deploy/setup/bootstrap.sh
DEV := $(SETUP) dev
HERE := $(SETUP) --here dev

.PHONY: help setup demo test lint types unit stories sim adapters integration bench bench-detection bench-scale bench-sim chaos \
	soak soak-sim test-broken test-majors mutants locks protos format

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 17

setup: ## prepare the environment for development and say where it is
	@$(DEV)

demo: ## the main job, live: a failover, a lost host, a switchover (ARGS=--stay keeps it up)
	@$(SETUP) demo python -m deploy.demo $(ARGS)

test: ## everything: lint, types, unit, stories, simulator, adapters, integration
	@$(DEV) python -m tests.run $(ARGS)

lint: ## style, import contracts, stubs compared with protos
	@$(DEV) python -m tests.run --only lint

types: ## strict mypy
	@$(DEV) python -m tests.run --only types

unit: ## unit tests and stories
	@$(DEV) python -m tests.run --only unit $(ARGS)

stories: ## stories only; ARGS=--rewrite refreshes what they expect (read the diff)
	@$(HERE) python -m pytest tests/stories $(ARGS)

sim: ## the simulator: fixed seeds, and fresh ones for two minutes
	@$(DEV) python -m tests.run --only simulator $(ARGS)

adapters: ## the adapters' contract suites, on real parts
	@$(DEV) python -m tests.run --only adapters $(ARGS)

integration: ## real PostgreSQL, etcd and BIND
	@$(DEV) python -m tests.run --only integration $(ARGS)

bench: ## outages by fault beside the floor, and ten minutes under load; a few hours (ARGS=--help: five members, data, ...)
	@$(SETUP) demo python -m deploy.bench $(ARGS)

bench-detection: ## each profile: how soon a loss is seen, and false alarms under load and loss; half an hour
	@$(SETUP) demo python -m deploy.detection $(ARGS)

bench-scale: ## thousands of members at one control node: CPU, memory, beats, failovers among them (ARGS=--help)
	@$(SETUP) demo python -m deploy.scale $(ARGS)

bench-sim: ## how many counted failovers the simulator lives through in a second of one core
	@$(DEV) python -m tests.simulator --bench $(ARGS)

soak-sim: ## the simulator for hours on all cores, failing seeds kept in a file (HOURS=n; ARGS=--compiled: faster)
	@$(DEV) python -m tests.simulator --soak --hours $(or $(HOURS),1) $(ARGS)

chaos: ## real faults on real parts, each with its verdict (ARGS="--only NAME", ARGS=--list); about half an hour
	@$(DEV) python -m tests.chaos $(ARGS)

soak: ## real faults for hours on real parts, some of them together (HOURS=n, 1 by default; ARGS=--help)
	@$(DEV) python -m tests.soak --hours $(or $(HOURS),1) $(ARGS)

test-broken: ## a clause of each rule removed must turn a test on real PostgreSQL red
	@$(DEV) python -m tests.broken $(ARGS)

test-majors: ## PostgreSQL's contract suite on every major to be had: script by major (ARGS=--write keeps it)
	@$(DEV) python -m tests.contract.postgres $(ARGS)

mutants: ## each clause of the protocol taken away must be caught by the simulator; at most 30 minutes
	@$(DEV) python -m tests.mutants $(ARGS)

locks: ## write requirements/*.txt anew
	@$(HERE) python -m deploy.setup.locks

protos: ## write the stubs of protos/*.proto anew
	@$(HERE) python -m deploy.setup.stubs

format: ## let ruff format the code
	@$(HERE) ruff format . && $(HERE) ruff check --fix .
