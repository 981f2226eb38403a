"""The Kubernetes backend: what Kubernetes knows already is read from its own objects, the rest lies in custom resources.

In reading order: settings (variables, calicoctl.cfg, kubeconfig), credentials (tokens, certificates, programs that log in),
errors (what the API server's refusals mean), connection (HTTP, TLS, trying again), places (where a kind is served, and by which
API group), stored (a custom resource's form, and back), objects (what an object that was read stands for), nodes (annotations
of Kubernetes' Nodes), endpoints (annotations of pods), reads (pages), watch (one stream a resource, resumed), writes, client
(the protocol).
"""
