"""etcd: coordination, records, configuration, and accounts of the past.

Bytes in, bytes out: what a record means is the core's business. The layers, from the wire upwards:
`endpoint` (one channel), `translate` (errors), `client` (rotation and deadlines), `watch`, `lease`;
and on them the ports: `election`, `record_store`, `spec_store`, `history`, `control_nodes`.
"""
