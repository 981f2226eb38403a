"""Kubernetes objects to api values, pure: used by the Kubernetes datastore, offline files and the agent's feed.

In reading order: errors, uid, names, quantity (small rules of Kubernetes), labels (label selectors to selector text), ports,
policies, cluster_policies, namespaces, serviceaccounts, qos, pods, nodes (one kind of object each), feed (one update in, one
update out), offline (a whole file in, updates out).
"""
