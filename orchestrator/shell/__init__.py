"""The loop and its parts: what carries events into the core and decisions out of it.

Nothing here decides. The order of saving and acting stands once, in `loop`.
"""
