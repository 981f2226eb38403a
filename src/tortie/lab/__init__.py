"""Nodes as network namespaces on one machine: the demo, the tests' stage, a teaching tool.

The lab replaces only the kubelet and the cables; agents, BIRD, the CNI plugin and the datastore are the real ones, started as
processes. In reading order: spec (lab.yaml), settings (configurations, pools and nodes of it), names (where everything of one
lab lives), privilege (root, or a user namespace), inside (first steps there), fabric (the cables), serve (what a pod runs),
runtime (wiring pods by CNI), servers (starting what listens), kubernetes_binaries (Kubernetes' own programs on this machine),
kubernetes_plane (its control plane as processes), kubectl (our way to its API server), kubernetes_guest and relay (somebody
else's cluster), kubernetes_store (a lab's Kubernetes), stores (the datastore, whichever), state (what is remembered between
commands), kubernetes_objects (pods and nodes as documents), kubelet_step (what a kubelet does next), kubelet (the lab as the
kubelet of its nodes), workloads and kubernetes_workloads (namespaces and pods, without an API server and with one), network
(what it is asked to be and what the kernels have), convergence (nodes know ways and have policies), cluster (one lab, up
to down), overview (its state), residue (what it left), probe (who reaches whom, observed), questions (lists of probes, truth
tables), stream (counted traffic), capture (frames off the fabric), demo (the show), modes (how packets cross in each),
demo_expected, demo_checks, demo_faults, demo_kubernetes, demo_modes, demo_reflectors (its steps), report (what a person sees
of it).
The command line stands in cli.lab.
"""
