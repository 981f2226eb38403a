"""The v3 API as kubectl wants it: behind Kubernetes' aggregation layer, or alone on a datastore of ours.

In reading order: errors (refusals, which become Status objects), served (which kinds, under which names), access (users, and
whether they may), identity (who asks), delegation (what Kubernetes decides for us), self_review (what users ask about
themselves); selecting (labels and fields), objects (resources as API objects), patching, ownership (server-side apply), schema
(OpenAPI of the kinds), spelling (as it was applied), tables, pages, discovery: these decide and do nothing else. hub (shared
watches), reading, rehearsal (dry runs), writing: these use the datastore. question (a request, understood), protobuf (what
kubectl says in no other way), answers (bodies), public (pages about the server), service (the handler), certificates, options,
server (the process).
"""
