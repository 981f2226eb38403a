"""Resources in, answers out. Pure: the command line, the lab and tests all ask here.

In reading order: errors, synthetic (addresses and nodes for what has none), workloads (pod templates as pods), world (calc run
over a whole cluster), ends (what a person calls an endpoint), explain (why one packet passes or not), document (an explanation
as a JSON document), matrix (who reaches whom).
"""
