"""WHAT: the stages, as plain functions from files to files. Nothing here knows Prefect."""
