"""What a shell may complete behind tortie policy: endpoints and policies, from the files of -f or from the datastore."""

import contextlib

import click


def complete_end(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """`namespace/pod` and `hep/NAME` that begin with what was typed."""
    # A shell is no place for messages: whatever goes wrong, there is simply nothing to complete.
    with contextlib.suppress(Exception):
        from tortie.cli.worlds import live_resources, live_world, read_files

        paths = ctx.params.get("paths") or ()
        world = read_files(paths).world() if paths else live_world(live_resources(ctx.params.get("config_file")))
        names = ["/".join(name) for name in world.workloads]
        names += [f"hep/{endpoint.name}" for endpoint in world.state.host_endpoints]
        return sorted(name for name in names if name.startswith(incomplete))
    return []


def complete_policy(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """`namespace/name` of policies, `name` of global ones."""
    with contextlib.suppress(Exception):
        from tortie.cli.worlds import live_resources, read_files

        paths = ctx.params.get("paths") or ()
        resources = read_files(paths).resources if paths else live_resources(ctx.params.get("config_file"))
        keys = [resource.key for resource in resources if resource.kind.endswith("Policy")]
        names = {f"{key.namespace}/{key.name}" if key.namespace else key.name for key in keys}
        return sorted(name for name in names if name.startswith(incomplete))
    return []
