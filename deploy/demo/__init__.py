"""`make demo`: the main job in one command, live."""
