"""What comes in: beats, agents' streams, what other control nodes and PostgreSQL itself say, people.

Everything is stamped, checked, decoded and put into the inbox; nothing is decided here.
"""
