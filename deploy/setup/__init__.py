"""Makes `make demo` and `make test` work on a fresh machine.

What lives here: everything that must run before there is an environment to run in. So:
the standard library only, no import from the rest of the code, except the other way
round (`deploy.setup.prepared` tells the lab and the tests what was prepared). What is
*not* here: the lab, which starts things.
"""
