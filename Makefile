# Every command a person types. `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

STAGES := ingest preprocess train evaluate

# What was typed after M=, untouched: make would expand a $ in it, also on its way to the environment.
export GIT_SYNC_MESSAGE := $(value M)
unexport M

.PHONY: help setup-env build run run-host plan doctor $(STAGES:%=run-%) status dag push pull git-sync \
	connect-dagshub disconnect-dagshub dagshub-local ui reproduce up down sync clean test chaos lint lock

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

setup-env: ## Make .venv with dvc and dvc-runner in it (instant when nothing changed)
	@scripts/setup-env

build: setup-env ## Build the images of the stages and of the runner
	@scripts/python scripts/run.py --build

run: setup-env ## Run the pipeline: in containers where an engine answers, without where none does
	@scripts/python scripts/run.py

run-host: setup-env ## The same with dvc-runner on this machine instead of in its container
	@scripts/python scripts/run.py --host

plan: setup-env ## Say what run would do with each stage, and why
	@scripts/python scripts/run.py --plan

doctor: setup-env ## Prove what a run depends on, and say what is wrong
	@scripts/python scripts/run.py --doctor

run-ingest: setup-env ## Run up to the stage ingest
	@scripts/python scripts/run.py ingest

run-preprocess: setup-env ## Run up to the stage preprocess
	@scripts/python scripts/run.py preprocess

run-train: setup-env ## Run up to the stage train
	@scripts/python scripts/run.py train

run-evaluate: setup-env ## Run up to the stage evaluate
	@scripts/python scripts/run.py evaluate

status: setup-env ## Say which stages are out of date
	@scripts/dvc status

dag: setup-env ## Draw the pipeline
	@scripts/dvc dag

push: setup-env ## Send data and run-cache to the DVC remote, then code by git-sync (M="message", or it asks)
	@scripts/python scripts/share.py push

pull: setup-env ## Fetch data and run-cache from the DVC remote
	@scripts/python scripts/share.py pull

git-sync: setup-env ## Commit code, dvc.lock and metrics, then push them (M="message", or it asks)
	@scripts/python scripts/git_sync.py

connect-dagshub: setup-env ## Prove that DagsHub's MLflow and storage can be used, and use them (.env.example says what it needs)
	@scripts/python scripts/dagshub_connection.py

disconnect-dagshub: setup-env ## Stop using DagsHub
	@scripts/python scripts/dagshub_connection.py --disconnect

dagshub-local: setup-env ## Start a DagsHub of this machine, to try it without an account
	@scripts/python dagshub-local/stand_in.py

ui: setup-env ## Open MLflow in the browser
	@scripts/python scripts/configure.py --browse

reproduce: setup-env ## Make a version of the model again, and compare (V=3; V=production)
	@scripts/python scripts/reproduce.py "$${V:-production}"

up: setup-env ## Start the local services (MLflow)
	@scripts/python scripts/configure.py

sync: setup-env ## Deliver the runs of TRACKING_OFFLINE=1 to the MLflow server that is configured
	@scripts/python scripts/sync.py

down: setup-env ## Stop the local services; their data stays
	@scripts/python tracking-server/server.py stop

clean: ## Remove what runs and make made; the model registry, the cache and .env stay
	@scripts/clean

test: ## Run every test, then lint
	@scripts/setup-env --dev
	@scripts/test

chaos: ## Kill the runner at N random moments (N=100), and flood it with a gigabyte
	@scripts/setup-env --dev
	@CHAOS=$(or $(N),100) FLOOD_MB=1024 scripts/test tests/chaos tests/integration/test_flood.py

lint: ## ruff, mypy, import-linter
	@scripts/setup-env --dev
	@scripts/lint

lock: ## Renew uv.lock, every requirements.txt and the base image
	@scripts/setup-env --dev
	@scripts/lock
