# `make demo` needs a Python >= 3.11 and nothing else: no install, no network. `make demo URL=kafka://localhost:9092` and
# the other targets make .venv first. ARGS="..." is passed on; PYTHON=... names the interpreter instead of having it found.
.PHONY: demo test lint bench conformance clean venv

# A broker's client is in .venv; the native engine's is Python.
demo: $(if $(filter-out native:%,$(URL)),venv)
	@$(if $(filter-out native:%,$(URL)),.venv/bin/python,tools/python) -m mqbridge demo $(URL) $(ARGS)

venv:
	@tools/python tools/bootstrap.py

test: venv
	@.venv/bin/python -m pytest $(ARGS)

lint: venv
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python tools/check_tree.py

bench: venv
	@.venv/bin/python benchmarks/run.py $(ARGS)

conformance: venv
	@.venv/bin/python -m mqbridge conformance run $(or $(ARGS),native:)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
