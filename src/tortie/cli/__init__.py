"""What a person types. Commands are thin: they read arguments, call one package, and print.

In reading order: main (the table of commands, exit codes), files (resources from files), output (resources to the screen),
resources (apply, create, replace, delete), showing (get), about (version, completion), explain, ipam, agent, lab.
"""
