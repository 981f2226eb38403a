"""Resources in, answers out. Pure: the command line, the lab and tests all ask here.

In reading order: errors, raw (maps inside raw documents), synthetic (addresses for what has none), workloads (pod templates
as pods), nodes (those only mentioned, and the configuration of each), slices (endpoint slices for services without), services
(what stands behind a service), peering (where workloads find their node for BGP), written (rules as their authors numbered
them), world (calc run over a whole cluster), files (the text of files as a world), question (what is asked, as a person
writes it), floating (addresses that lead to workloads besides their own), ends (what a person calls an endpoint), route
(which way a packet takes), bystanders (who was not asked, and why), explain (why one packet passes or not), document (an
explanation as JSON), classes (ends that policy cannot tell apart), matrix (who reaches whom), html (that table as a page),
interesting (ports and addresses worth asking), subjects (labels, and groups of endpoints in words), sameness (what two worlds
treat alike), diff (what a change of policies changes for packets), effective (the rules of one endpoint in order), lint
(policies that cannot mean what they say), policy_test (assertions about a cluster), trace (the way of one policy through an
agent).
"""
