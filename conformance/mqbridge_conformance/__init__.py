"""One body for each behaviour, run against every engine, observed from outside, and shown able to fail.

`results` says what a run found, `targets` how a broker is started and looked at, `scenario` what a behaviour is and
what it needs, `runner` how one is judged, `report` how it is shown; the behaviours are in `scenarios`. The command
line is in `commands`, the pytest plugin in `plugin`. Importing this package imports nothing else, for pytest does so
in every run of an environment in which it is installed.
"""
