"""Go's templates over resources, as calicoctl's users wrote them."""

import pytest

from tortie.api.documents import load_documents
from tortie.api.resource import Resource
from tortie.cli.gotemplate import GoTemplate, GoTemplateError, ListResult

NODES = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a, labels: {rack: r1, zone: z}}
spec: {bgp: {ipv4Address: 172.16.0.1/24, asNumber: 64600}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: b}
"""


def nodes() -> tuple[Resource, ...]:
    return tuple(document.resource for document in load_documents(NODES))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{range .}}{{.ObjectMeta.Name}} {{end}}", "a b "),
        ("{{range .}}{{.Name}}={{if .Spec.BGP}}{{.Spec.BGP.IPv4Address}}{{else}}-{{end}},{{end}}", "a=172.16.0.1/24,b=-,"),
        ("{{range $i, $n := .}}{{if $i}}, {{end}}{{$i}}:{{$n.Name}}{{end}}", "0:a, 1:b"),
        ("{{range .}}{{with .Spec.BGP}}{{.ASNumber}}{{else}}{{config \"asnumber\"}}{{end}} {{end}}", "64600 64512 "),
        ("{{range .}}\n  {{- .Kind -}}  \n{{end}}", "NodeNode"),
        ("{{len .}} {{(index . 0).Labels.rack}} {{index (index . 0).Labels \"zone\"}}", "2 r1 z"),
        ("{{$x := index . 1}}{{$x.Name | printf \"%-3s|\"}}{{/* nothing */}}", "b  |"),
        ("{{range .}}{{if and (eq .Name \"a\") (not (gt 1 2))}}yes{{else if eq .Name \"b\"}}no{{end}} {{end}}", "yes no "),
        ("{{range .Nothing}}{{else}}none{{end}}", None),
        ("{{(index . 0).Labels}} {{(index . 1).Spec.BGP}} {{true}} {{`x`}}{{\"\\n\"}}", "map[rack:r1 zone:z] <nil> true x\n"),
    ],
)  # fmt: skip
def test_templates(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(GoTemplateError):
            GoTemplate(template).text(nodes(), config={})
        return
    assert GoTemplate(template).text(nodes(), config={"asnumber": "64512"}) == text


def test_all_of_a_kind_is_one_result_with_items() -> None:
    template = GoTemplate("{{range .}}{{range .Items}}{{.Name}};{{end}}{{end}}")
    assert template.text([ListResult(nodes())], config={}) == "a;b;"


def test_lists_are_joined_and_cut() -> None:
    nets = load_documents(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n"
        "metadata: {name: s}\nspec: {nets: [10.0.0.0/8, 11.0.0.0/8]}\n"
    )[0].resource
    assert GoTemplate('{{range .}}{{join .Spec.Nets ","}}{{end}}').text([nets], config={}) == "10.0.0.0/8,11.0.0.0/8"
    assert GoTemplate('{{range .}}{{joinAndTruncate .Spec.Nets "," 12}}{{end}}').text([nets], config={}) == "10.0.0.0/..."


@pytest.mark.parametrize(
    "broken", ["{{", "{{if .}}x", "{{end}}", "{{frob .}}", "{{.A |}}", "{{$}}{{else}}", "{{(.A}}", "{{^}}"]
)
def test_a_template_that_cannot_be_read_is_refused_at_once(broken: str) -> None:
    with pytest.raises(GoTemplateError, match="template"):
        GoTemplate(broken)


@pytest.mark.parametrize(
    "wrong", ["{{.Foo}}", "{{range .}}{{.Spec.Frob}}{{end}}", "{{index . 7}}", "{{$y}}", "{{lt . 1}}", "{{join . 2}}"]
)
def test_what_is_not_there_is_an_error(wrong: str) -> None:
    with pytest.raises(GoTemplateError):
        GoTemplate(wrong).text(nodes(), config={})
