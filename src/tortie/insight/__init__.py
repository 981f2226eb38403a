"""Resources in, answers out. Pure: the command line, the lab and tests all ask here.

In reading order: errors, synthetic (addresses and nodes for what has none), workloads (pod templates as pods), world (calc run
over a whole cluster), files (the text of files as a world), question (protocol and port as a person writes them), ends (what a
person calls an endpoint), explain (why one packet passes or not), document (an explanation as JSON), matrix (who reaches whom).
"""
