"""Bugs in what the dataplane remembers from one change to the next."""

from tests.mutants.mutant import HOSTS_MANAGED, INCREMENTAL, POPULATED, SETS, Mutant

MANAGERS = (
    Mutant(
        "a profile that comes back is not asked",
        "dataplane/endpoint_manager.py",
        "                    self._changed_owners.add(profile_id)\n",
        "                    pass\n",
        INCREMENTAL,
    ),
    Mutant(
        "rules never learn that a set has members now",
        "dataplane/populated.py",
        "            self._appeared.add(name)\n",
        "            pass\n",
        POPULATED,
    ),
    Mutant(
        "a member that left and came back is lost",
        "dataplane/set_manager.py",
        "                change.removed.difference_update(added)\n                change.added.update(added)\n",
        "                change.added.update(added - change.removed)\n",
        SETS,
    ),
    Mutant(
        "a policy's chain goes with the first of its endpoints",
        "dataplane/references.py",
        "            if not self._counts[use]:\n                del self._counts[use]\n                changed.add(use.owner)",
        "            if self._counts[use] < 2:\n                del self._counts[use]\n                changed.add(use.owner)",
        INCREMENTAL,
    ),
    Mutant(
        "host endpoints do not follow a profile that comes",
        "dataplane/host_manager.py",
        "                    self._profiles ^= {profile_id}\n                    self._dirty = True",
        "                    self._profiles ^= {profile_id}",
        HOSTS_MANAGED,
    ),
)
