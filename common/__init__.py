"""The vocabulary that the orchestrator and the agents share.

A module stays here only while both programs need it.
"""
