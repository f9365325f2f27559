"""Rules for new pods: what is read, what is refused, and which pods they fit, as Kubernetes' selectors do."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from typing import Dict, List, NamedTuple, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.selector import (
    LONGEST_RULE,
    MOST_RULES,
    NAMESPACE,
    WHOLE,
    candidates,
    decide,
    parse,
    parse_all,
    parse_rule,
    share_of,
)

LABELS = {b"app": b"web", b"tier": b"", b"example.com/track": b"canary"}


def fits(rule: str, **labels: str) -> bool:
    """Whether a pod with these labels, beside `LABELS`, in the namespace ``shop`` meets a rule."""
    own = {key.encode(): value.encode() for key, value in labels.items()}
    return decide(parse_all(f"{rule}=x.y"), b"shop", {**LABELS, **own}, b"1") is not None


@pytest.mark.parametrize(
    "rule",
    [
        "namespace in (shop, other)",
        "namespace=shop",
        "namespace==shop",
        "namespace notin (kube-system)",
        "namespace!=kube-system",
        "app=web",
        "app = web",
        "app in(web)",
        "app in ( web,api )",
        "app notin (api)",
        "app",
        "tier",
        "tier=",
        "tier in (,db)",
        "tier in (db,)",
        "!gone",
        "! gone",
        "gone!=x",
        "gone notin (x, y)",
        "example.com/track=canary",
        "app=web,tier,!gone",
        " app , tier!=db ",
        "100%",
        "app=web,100%",
    ],
)
def test_a_pod_fits(rule: str) -> None:
    assert fits(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "namespace in (other)",
        "namespace notin (shop)",
        "namespace=",
        "app=api",
        "app=",
        "app!=web",
        "app notin (web)",
        "!app",
        "!namespace",
        "gone",
        "gone=",
        "gone in (,)",
        "tier=db",
        "App=web",
        "app=web,gone",
        "track=canary",
        "0%",
        "app=web,0%",
    ],
)
def test_a_pod_does_not_fit(rule: str) -> None:
    assert not fits(rule)


def test_the_namespace_is_the_pods_and_not_a_label_of_that_name() -> None:
    label = {NAMESPACE.decode(): "other"}
    assert fits("namespace=shop", **label)
    assert not fits("namespace=other", **label)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("app", "is not RULE=ID"),
        ("=x.y", "is not RULE=ID"),
        ("app=", "is not RULE=ID"),
        ("a b=x.y", "'a b' is not understood"),
        ("a,=x.y", "'the end' is not understood"),
        (",a=x.y", "',a' is not understood"),
        ("a,,b=x.y", "',b' is not understood"),
        ("a>5=x.y", "'a>5' is not understood"),
        ("!a=b=x.y", "'!a=b' is not understood"),
        ("a in (b=x.y", "'a in (b' is not understood"),
        ("a in ((b))=x.y", "is not understood"),
        ("ain (b)=x.y", "'ain (b)' is not understood"),
        ("a in ()=x.y", "'a in ()' has no values"),
        ("a in (b c)=x.y", "'b c' cannot be the value of a label"),
        ("a=-b=x.y", "'-b' cannot be the value of a label"),
        ("in in (b)=x.y", "'in' cannot be the name of a label"),
        ("a/b/c=x.y", "'a/b/c' cannot be the name of a label"),
        ("/a=x.y", "'/a' cannot be the name of a label"),
        ("Example.com/a=x.y", "'Example.com/a' cannot be the name of a label"),
        (f"{'a' * 64}=x.y", "cannot be the name of a label"),
        (f"a={'b' * 64}=x.y", "cannot be the value of a label"),
        ("\u00e4=x.y", "cannot be the name of a label"),
        ("101%=x.y", "'101%' is more than all pods"),
        ("100.01%=x.y", "'100.01%' is more than all pods"),
        ("10.123%=x.y", "is not understood"),
        ("10 %=x.y", "is not understood"),
        ("1%,2%=x.y", "'1%,2%' has two shares"),
        (f"a in ({', '.join(['b'] * LONGEST_RULE)})=x.y", f"a rule has at most {LONGEST_RULE}"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_is_wrong(entry: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_all(entry)


def test_the_last_sign_divides_a_rule_from_the_runtime() -> None:
    first, second, third = parse_all("app==web=x.y; namespace in (a,b) = z.y ;10%=x.y;")
    assert (first.text, first.runtime) == ("app=web", "x.y")
    assert (second.text, second.runtime, second.entry) == ("namespace in (a, b)", "z.y", "namespace in (a, b)=z.y")
    assert (third.text, third.share, third.runtime) == ("10%", 1000, "x.y")
    assert parse_all("") == parse_all(" ; ") == ()


def test_the_first_rule_that_fits_counts() -> None:
    rules = parse_all("gone=a.y;app=b.y;100%=c.y")
    chosen = decide(rules, b"shop", LABELS, b"1")
    assert chosen is not None
    assert chosen.runtime == "b.y"
    assert [rule.runtime for rule in candidates(rules, b"shop", LABELS)] == ["b.y", "c.y"]


@pytest.mark.parametrize(
    "rules",
    ["app=x.y;app=z.y", "0%=x.y;0.0%=x.y", "a,b=x.y; b , a=z.y", "a in (b, c)=x.y;a in (c,b)=x.y", "5%=x.y;5.0%=x.y"],
)
def test_a_rule_about_the_same_pods_as_one_before_it_is_refused(rules: str) -> None:
    with pytest.raises(ValueError, match="never decides: before it"):
        parse_all(rules)


def test_each_runtime_may_have_a_rule_about_no_pods() -> None:
    assert [rule.runtime for rule in parse_all("0%=x.y;0%=z.y")] == ["x.y", "z.y"]


def test_there_are_so_many_rules_and_no_more() -> None:
    rules = [f"a{number}=x.y" for number in range(MOST_RULES + 1)]
    assert len(parse_all(";".join(rules[1:]))) == MOST_RULES
    with pytest.raises(ValueError, match=f"more than {MOST_RULES}"):
        parse_all(";".join(rules))


# Selectors against a plain version of them.


class Plain(NamedTuple):
    """A requirement."""

    key: str
    operator: str
    values: List[str]

    def text(self, gap: str) -> str:
        """As people write it."""
        if self.operator in ("in", "notin"):
            return f"{gap}{self.key} {self.operator}{gap}({gap}{f'{gap},'.join(self.values)}{gap}){gap}"
        if self.operator in ("=", "==", "!="):
            return f"{gap}{self.key}{gap}{self.operator}{gap}{self.values[0]}{gap}"
        return f"{gap}!{gap}{self.key}{gap}" if self.operator == "!" else f"{gap}{self.key}{gap}"

    def fits(self, value: Optional[str]) -> bool:
        """As labels.Requirement.Matches of Kubernetes' apimachinery."""
        meant = self.values if self.operator in ("in", "notin") else self.values[:1]
        if self.operator in ("in", "=", "=="):
            return value is not None and value in meant
        if self.operator in ("notin", "!="):
            return value is None or value not in meant
        return (value is None) == (self.operator == "!")


KEYS = st.sampled_from(["a", "b", "x.io/a", "namespace", "in.x"])
VALUES = st.sampled_from(["", "a", "b", "in", "notin", "1", "A_b-c.d"])
REQUIREMENTS = st.builds(
    Plain,
    KEYS,
    st.sampled_from(["in", "notin", "=", "==", "!=", "!", ""]),
    st.lists(VALUES, min_size=1, max_size=3).filter(lambda values: values != [""]),
)
PODS = st.dictionaries(KEYS, VALUES)


@given(st.lists(REQUIREMENTS, min_size=1, max_size=4), PODS, VALUES, st.sampled_from(["", " ", "\t "]))
def test_a_selector_fits_as_kubernetes_has_it(
    requirements: List[Plain], labels: Dict[str, str], namespace: str, gap: str
) -> None:
    text = ",".join(each.text(gap) for each in requirements)
    (rule,) = parse_all(f"{text}=x.y")
    attributes = {**labels, "namespace": namespace}
    own = {key.encode(): value.encode() for key, value in labels.items()}
    expected = all(each.fits(attributes.get(each.key)) for each in requirements)
    assert (decide([rule], namespace.encode(), own, b"") is rule) is expected
    again = parse(rule.entry)
    assert again == rule
    assert again.concerns(rule)


@given(st.text(max_size=30) | st.text("a=!,()in% ;10", max_size=30))
def test_any_text_is_a_rule_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        shown, requirements, share = parse_rule(text)
        assert parse_rule(shown) == (shown, requirements, share)


# Shares.


@given(st.binary(max_size=40), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_a_pod_goes_the_same_way_whenever_it_is_asked_for_and_stays_in_a_larger_share(
    uid: bytes, one: int, other: int
) -> None:
    assert 0 <= share_of(uid) == share_of(bytes(bytearray(uid))) < WHOLE
    small, large = (parse(f"{share / 100:.2f}%=x.y") for share in sorted((one, other)))
    assert (small.share, large.share) == tuple(sorted((one, other)))
    assert decide([small], b"", {}, uid) is None or decide([large], b"", {}, uid) is large


@given(st.integers(), st.sampled_from([1, 10, 12.5, 50, 90]))
def test_a_share_of_pods_is_near_its_percentage(seed: int, percent: float) -> None:
    numbers = random.Random(seed)
    (rule,) = parse_all(f"{percent}%=x.y")
    count = 2000
    uids = [str(UUID(int=numbers.getrandbits(128))).encode() for _ in range(count)]
    chosen = sum(decide([rule], b"", {}, uid) is not None for uid in uids)
    deviation = (count * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(chosen - count * percent / 100) < 6 * deviation


def test_numbered_uids_are_divided_as_well() -> None:
    (rule,) = parse_all("25%=x.y")
    chosen = sum(decide([rule], b"", {}, b"pod-%d" % number) is not None for number in range(4000))
    assert 800 < chosen < 1200
