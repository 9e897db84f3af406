"""`python -m deltarule` is the program `deltarule`."""

from deltarule.cli import main

main()
