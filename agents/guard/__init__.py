"""The guard: a small process that holds the deadline when nothing else does (protocol.md, "Staying up").

Standard library only, and nothing of the rest of the project: it must live when everything else does not.
"""
