"""What every layer may use. Knows nothing of Calico, and re-exports nothing.

In reading order: errors, delta, decimals, net (pure, for every package); log, metrics, aio, process, certificates, inotify
(for packages with I/O).
"""
