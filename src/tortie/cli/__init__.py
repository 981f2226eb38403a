"""What a person types. Commands are thin: they read arguments, call one package, and print.

In reading order: main (the table of commands, exit codes), lazy (groups that import a command when it is used), everywhere
(options of all commands), session (options and client that commands share), screen (colours and a pager, on a terminal
alone), progress (of long work), files (resources from files), output (resources to the screen), jsonpath, gotemplate, formats
(the values of -o), completing (what a shell may complete), resources (apply, create, replace, delete),
node_deletion (what goes with a node), showing (get),
watching (get --watch), changing (patch, label), about (version, completion), worlds (files or the datastore as what questions
are asked about), explain, policy (the commands below it: policy_matrix, policy_diff, policy_effective, policy_lint,
policy_test, policy_trace with policy_kernel, completing_policy), boxes (tables with frames), ipam, ipam_changes (release,
configure, split), ipam_report (the report of a check), ipam_mending (check --fix, release --from-report), ipam_pool (pool
migrate), locking (datastore migrate lock), dump (the file of a migration), migration (export, import), node,
node_routes (how this node reaches the others), node_system
(node checksystem, run), node_wireguard, diagnostics (node diags, cluster diags), doctor, agent, apiserver, lab.
"""
