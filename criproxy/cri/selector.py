"""Rules by which new pods go to an alternative runtime that do not ask for one themselves.

A rule is written ``RULE=ID``. RULE has requirements with commas between, all of which a pod has to meet: those of
Kubernetes' label selectors (``app=web``, ``tier!=db``, ``app in (web, api)``, ``tier notin (db)``, ``app``, ``!app``),
in which ``namespace`` is the pod's namespace and no label, and a share of all pods (``10%``).
"""

from __future__ import annotations

import re
from typing import Final, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from zlib import crc32

LONGEST_RULE: Final = 512
"""characters"""
MOST_RULES: Final = 32
"""With as many, of that length, it takes a millisecond to find out where a pod goes."""
NAMESPACE: Final = b"namespace"
"""The key that is the pod's namespace."""
WHOLE: Final = 10_000
"""The share that is all pods: shares are in hundredths of a percent."""
_KEYWORDS: Final = ("in", "notin")
_REQUIREMENT: Final = r"""\s*(?:
        (?P<share>\d{1,3})(?:\.(?P<fraction>\d{1,2}))?%
      | !\s*(?P<absent>[^\s,()=!<>%]+)
      | (?P<key>[^\s,()=!<>%]+)
        (?: \s+(?P<word>in|notin)\s*\((?P<values>[^()=!<>%]*)\)
          | \s*(?P<sign>==?|!=)\s*(?P<value>[^\s,()=!<>%]*) )?
    )\s*(?P<end>,|\Z)"""
"""This and the next two are compiled where there are rules: kubelet need not wait for that at the start."""
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_PREFIX: Final = r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"


class Requirement(NamedTuple):
    """What a pod has to meet."""

    key: bytes
    values: FrozenSet[bytes]
    """Those of which the key has to have one; none: any."""
    negated: bool
    """Whether it is the other way round. A pod without the key then meets it."""

    def is_met(self, value: Optional[bytes]) -> bool:
        """Whether a pod meets it that has this value of the key; None: it does not have the key."""
        return (value is not None and (not self.values or value in self.values)) != self.negated


class RouteRule(NamedTuple):
    """Which new pods go to a runtime."""

    text: str
    """The rule as it is shown."""
    requirements: Tuple[Requirement, ...]
    share: int
    """Of all pods, hundredths of a percent."""
    runtime: str
    """The id of the runtime."""

    @property
    def entry(self) -> str:
        """``RULE=ID``, which `parse` reads."""
        return f"{self.text}={self.runtime}"

    def concerns(self, other: RouteRule) -> bool:
        """Whether another rule is about the very same pods. Of no pods each runtime may have one."""
        same = (frozenset(self.requirements), self.share) == (frozenset(other.requirements), other.share)
        return same and (self.share > 0 or self.runtime == other.runtime)


def share_of(uid: bytes) -> int:
    """The smallest share of all pods, less one, in which the pod with this uid is: 0 to `WHOLE` - 1.

    It depends on nothing else, so the same pod always goes the same way, and whoever is in a share is in a larger one.
    """
    return crc32(uid) * WHOLE >> 32


def candidates(rules: Sequence[RouteRule], namespace: bytes, labels: Mapping[bytes, bytes]) -> List[RouteRule]:
    """The rules whose requirements a pod meets, in their order; whether it is in their shares is another question."""
    attributes = {**labels, NAMESPACE: namespace}
    return [
        rule
        for rule in rules
        if all(requirement.is_met(attributes.get(requirement.key)) for requirement in rule.requirements)
    ]


def decide(
    rules: Sequence[RouteRule], namespace: bytes, labels: Mapping[bytes, bytes], uid: bytes
) -> Optional[RouteRule]:
    """The first rule that a pod meets; None if there is none."""
    share = share_of(uid)
    return next((rule for rule in candidates(rules, namespace, labels) if share < rule.share), None)


def parse_all(text: str) -> Tuple[RouteRule, ...]:
    """The rules of ``RULE=ID;...``, in their order. Raises ValueError; its text names the wrong part."""
    rules: List[RouteRule] = []
    for entry in filter(str.strip, text.split(";")):
        rule = parse(entry)
        twin = next((each for each in rules if each.concerns(rule)), None)
        if twin is not None:
            raise ValueError(f"{rule.entry!r} never decides: before it {twin.entry!r} is about the same pods")
        rules.append(rule)
    if len(rules) > MOST_RULES:
        raise ValueError(f"there are {len(rules)} rules, more than {MOST_RULES}")
    return tuple(rules)


def parse(entry: str) -> RouteRule:
    """The rule of a ``RULE=ID``. Raises ValueError; its text names the wrong part."""
    text, _, runtime = entry.rpartition("=")
    if len(entry) > LONGEST_RULE:
        raise ValueError(f"{entry[:40] + '...'!r} has {len(entry)} characters; a rule has at most {LONGEST_RULE}")
    if not text.strip() or not runtime.strip():
        raise ValueError(f"{entry.strip()!r} is not RULE=ID, as 'namespace in (a, b)=virtlet.cloud'")
    shown, requirements, share = parse_rule(text)
    return RouteRule(shown, requirements, share, runtime.strip())


def parse_rule(text: str) -> Tuple[str, Tuple[Requirement, ...], int]:
    """A RULE as it is shown, its requirements, and its share. Raises ValueError; its text names the wrong part."""
    shown: List[str] = []
    requirements: List[Requirement] = []
    shares: List[int] = []
    pattern = re.compile(_REQUIREMENT, re.VERBOSE | re.ASCII)
    at = 0
    while not shown or text[at - 1] == ",":
        match = pattern.match(text, at)
        if match is None:
            raise ValueError(
                f"{text.strip()!r}: {text[at:].strip() or 'the end'!r} is not understood; a rule has KEY=VALUE,"
                " KEY!=VALUE, KEY in (VALUE, ...), KEY notin (VALUE, ...), KEY, !KEY and N%, with commas between"
            )
        at = match.end()
        if match["share"] is None:
            requirement, part = _requirement(match)
            requirements.append(requirement)
        else:
            part = match[0].strip().rstrip(",").rstrip()
            shares.append(_share(match, part))
        shown.append(part)
        if not match["end"]:
            break
    if len(shares) > 1:
        raise ValueError(f"{text.strip()!r} has two shares")
    return ",".join(shown), tuple(requirements), shares[0] if shares else WHOLE


def _share(match: re.Match[str], part: str) -> int:
    share = int(match["share"]) * 100 + int((match["fraction"] or "").ljust(2, "0"))
    if share > WHOLE:
        raise ValueError(f"{part!r} is more than all pods")
    return share


def _requirement(match: re.Match[str]) -> Tuple[Requirement, str]:
    """A requirement, and how it is shown."""
    key, word, sign = match["key"] or match["absent"], match["word"], match["sign"]
    prefix, slash, name = key.rpartition("/")
    if key in _KEYWORDS or not re.fullmatch(_NAME, name) or (slash and not re.fullmatch(_PREFIX, prefix)):
        raise ValueError(f"{key!r} cannot be the name of a label")
    if word is None and sign is None:
        negated = match["absent"] is not None
        return Requirement(key.encode(), frozenset(), negated), f"{'!' if negated else ''}{key}"
    listed = (match["values"] if sign is None else match["value"]).strip()
    if sign is None and not listed:
        raise ValueError(f"{match[0].strip()!r} has no values")
    values = list(dict.fromkeys(value.strip() for value in listed.split(",")))
    for value in values:
        if value and not re.fullmatch(_NAME, value):
            raise ValueError(f"{value!r} cannot be the value of a label")
    negated = word == "notin" or sign == "!="
    requirement = Requirement(key.encode(), frozenset(value.encode() for value in values), negated)
    if sign is not None or values == [""]:
        return requirement, f"{key}{'!=' if negated else '='}{values[0]}"
    return requirement, f"{key} {word} ({', '.join(values)})"
