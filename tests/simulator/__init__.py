"""The deterministic simulator: the production cores in virtual time, with small models around them.

Model PostgreSQL, etcd and network; everything from one seed. Nothing of the shells is imported.
"""
